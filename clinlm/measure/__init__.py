"""How each number of a report is taken: quality, thresholds, intervals, latency, size, and the trivial baseline."""
