"""Schedules of gradual methods: one final class per file."""
