"""Strict readers of delimited text, JSON Lines, Parquet and plain text."""
