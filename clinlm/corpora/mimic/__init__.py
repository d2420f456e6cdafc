"""MIMIC-III readers and label definitions."""
