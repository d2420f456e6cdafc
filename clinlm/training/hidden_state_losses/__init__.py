"""Losses on the hidden states of a teacher."""
