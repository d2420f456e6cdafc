"""The terminal: whether there is one, and how wide."""

import os
import sys

from rich.console import Console


def interactive() -> bool:
    """Return whether to draw progress bars: on a terminal only, and not in CI."""
    return sys.stderr.isatty() and "CI" not in os.environ


def make_console() -> Console:
    """Return the console that tables are printed on: as wide as the terminal, or 120 columns into a file."""
    return Console(width=None if sys.stdout.isatty() else 120)
