"""Ways to regain quality after compression: one final class per file."""
