"""Hydra's sweepers of our own: they choose the next jobs from the results of earlier ones."""
