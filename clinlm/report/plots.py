"""Writes figures so that the same points make the same file."""

from pathlib import Path
from typing import Any


def save_figure(figure: Any, folder: Path, name: str) -> list[Path]:
    """Write a `matplotlib.figure.Figure` as <name>.svg and .png into `folder`, and return their paths.

    Text is drawn as it is: labels and names are the user's, and a `$` in them begins no formula.
    """
    from matplotlib import rc_context  # importing it takes a second
    from matplotlib.text import Text

    paths = [folder / f"{name}.{ending}" for ending in ("svg", "png")]
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    # Neither a date nor random ids; ticks are made while they are drawn.
    with rc_context({"svg.hashsalt": "clinlm", "svg.fonttype": "none", "text.parse_math": False}):
        figure.savefig(paths[0], metadata={"Date": None})
        figure.savefig(paths[1], dpi=150)
    return paths
