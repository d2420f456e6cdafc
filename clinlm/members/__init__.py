"""The teachers that a student may learn from: artifacts of earlier stages, and the TF-IDF baseline."""
