"""Computations of compression methods, without Lightning: scores, masks, search, latency tables, calibration."""
