"""Measures of quality, calibration, fairness, latency and cost, with intervals."""
