"""Hydra sweepers."""
