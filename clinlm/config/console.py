"""The terminal: whether there is one, and how wide."""

import os
import sys

from rich.console import Console

WATCHED = "CLINLM_WATCHED"
"""Set in the environment while a live view is drawn, for the jobs of its sweep as well: nothing else draws then."""


def interactive() -> bool:
    """Return whether to draw progress: on a terminal only, not in CI, and not where a live view is drawn."""
    return sys.stderr.isatty() and not {"CI", WATCHED} & {*os.environ}


def make_console() -> Console:
    """Return the console that tables are printed on: as wide as the terminal, or 120 columns into a file.

    Nothing is printed where a live view is drawn: it shows the jobs of a sweep, which write their tables into files.
    """
    return Console(width=None if sys.stdout.isatty() else 120, quiet=WATCHED in os.environ)
