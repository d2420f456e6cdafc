"""What learns: full, lora. One final class per file."""
