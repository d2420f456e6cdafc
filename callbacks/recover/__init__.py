"""Training after compression, to regain quality: one final class per file."""
