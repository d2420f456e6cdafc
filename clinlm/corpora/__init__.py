"""Readers of corpora, one per source."""
