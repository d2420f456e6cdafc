"""What learns: all weights, or low-rank updates."""
