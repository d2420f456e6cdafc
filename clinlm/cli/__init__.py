"""The commands: entry points, error messages, help, live progress."""
