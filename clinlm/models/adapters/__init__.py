"""Adapters decide what learns: all weights, or low-rank updates."""
