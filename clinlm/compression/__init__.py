"""What compression methods compute, without Lightning: importance, search, latency tables, calibration."""
