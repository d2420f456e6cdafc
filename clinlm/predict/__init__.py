"""Streams files of notes through models and labelers: answers, labels, comparison of two models, drift."""
