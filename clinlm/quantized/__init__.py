"""Layers whose weights are integers: one final class per file. An artifact holds them, an engine translates them."""
