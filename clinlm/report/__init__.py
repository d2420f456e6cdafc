"""Evaluation of finished runs, and its renderers: terminal, Markdown, CSV, JSON."""
