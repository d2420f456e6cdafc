"""Initializers: first weights of a network."""
