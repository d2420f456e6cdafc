"""What a run tells: rows and their tables, and the published tables beside them."""
