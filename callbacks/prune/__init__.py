"""Methods that remove weights: one final class per file."""
