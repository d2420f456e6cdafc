"""Compression methods, recovery and training callbacks. Only configuration names them: nothing imports this package."""
