"""Resolvers, validation, runtime settings."""
