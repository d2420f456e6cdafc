"""What of a teacher's inside a student imitates. One final class per file."""
