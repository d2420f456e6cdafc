"""When a method reaches its full strength: one final class per file."""
