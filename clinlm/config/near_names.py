"""Names near to one that is unknown, for messages."""

import difflib
from collections.abc import Iterable, Sequence

_NEAR, _AS_NEAR = 0.6, 0.1
"""Smallest similarity of a name that is suggested, and by how much less similar than the nearest it may be."""


def did_you_mean(wanted: str, known: Iterable[str]) -> str:
    """Return the question whether one of the names nearest to `wanted` was meant, or nothing if none is near."""
    return ask_for(near_names(wanted, known))


def ask_for(names: Sequence[str]) -> str:
    """Return the question whether one of `names` was meant; "" without names."""
    return f"; did you mean {' or '.join(names)}?" if names else ""


def near_names(wanted: str, known: Iterable[str]) -> list[str]:
    """Return those of `known` that are nearest to `wanted`, at most three."""
    near = difflib.get_close_matches(wanted, sorted({*known} - {wanted}), n=3, cutoff=_NEAR)
    ratios = [difflib.SequenceMatcher(None, wanted, name).ratio() for name in near]
    return [name for name, ratio in zip(near, ratios, strict=True) if ratio > max(ratios) - _AS_NEAR]
