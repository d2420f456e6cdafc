"""Labelers of notes: people, ontologies, language models, and combinations of labelers."""
