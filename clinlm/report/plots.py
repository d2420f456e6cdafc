"""Writes figures so that the same points make the same file."""

from pathlib import Path
from typing import Any


def save_figure(figure: Any, folder: Path, name: str) -> list[Path]:
    """Write a `matplotlib.figure.Figure` as <name>.svg and .png into `folder`, and return their paths."""
    from matplotlib import rc_context  # importing it takes a second

    paths = [folder / f"{name}.{ending}" for ending in ("svg", "png")]
    with rc_context({"svg.hashsalt": "clinlm", "svg.fonttype": "none"}):  # neither a date nor random ids
        figure.savefig(paths[0], metadata={"Date": None})
    figure.savefig(paths[1], dpi=150)
    return paths
