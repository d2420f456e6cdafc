"""Content-addressed store: keys, locks, records, verification."""
