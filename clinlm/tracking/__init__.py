"""Where curves and tables go: CSV, W&B, nowhere."""
