"""Readings of offsets: what a file may count that names places in a text by numbers."""

import html
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from operator import itemgetter
from typing import final

import numpy as np
from jaxtyping import Int

Fragment = tuple[int, int]
"""First character, and the one after the last."""

Widths = Int[np.ndarray, " characters"]

_BYTES = "bytes of UTF-8"
_DEPARTURES = 2

_ESCAPE = re.compile(r"&(?:[A-Za-z][A-Za-z0-9]{1,30}|#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6});")
_EDGE = re.compile(r"^\s+|\s+$")


@final
@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """One way to count.

    Attributes:
        name: what is counted, for a notice; "" for characters of the text.
        starts: the offset of every character, and of the end of the text; ascending, equal where nothing is counted.
    """

    name: str
    starts: Sequence[int] = field(repr=False)

    def place(self, fragment: Fragment) -> Fragment | None:
        """Return a fragment in characters; None if it is empty, leaves the text, or begins or ends in a character."""
        first, last = (bisect_left(self.starts, place) for place in fragment)
        inside = first <= last < len(self.starts) and (self.starts[first], self.starts[last]) == fragment
        return (first, last) if inside and first < last else None


def readings(text: str, marked: bool, joints: Sequence[int] = ()) -> Iterator[Reading]:
    """Yield the ways to count in a text that differ: characters, then those that depart from them in more and more.

    Departures are the unit (UTF-16 as JavaScript and Java count, UTF-8 bytes), line ends of one or two characters, the
    byte order mark, HTML escapes, white space at the edges, and what stands between passages.

    At most two departures are combined.

    Args:
        text: without byte order mark.
        marked: whether the file begins with one.
        joints: places of the characters between passages, such as a title and an abstract.
    """
    yield Reading("", range(len(text) + 1))
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.int64)
    units = _units(codes)
    changes = (
        [(name, width) for name, width in units.items()],
        [("", None), *_line_ends(codes).items()],
        [("", None), *_escapes(text, codes).items()],
        [("", None), *_edges(text, joints).items()],
        [("", 0), *([("a text with the byte order mark", 1)] if marked else [])],
    )
    choices = [(sum(bool(name) for name, _ in parts), parts) for parts in product(*changes)]
    for _, parts in sorted((choice for choice in choices if 0 < choice[0] <= _DEPARTURES), key=itemgetter(0)):
        (unit, widths), *masks, (_, mark) = parts
        own = widths.copy()
        for _, change in masks:
            if change is not None:
                own = np.where(change >= 0, change, own)
        bytes_of_mark = 3 if unit == _BYTES else 1
        starts = np.concatenate([[0], np.cumsum(own)]) + mark * bytes_of_mark
        yield Reading(", ".join(name for name, _ in parts if name), starts.tolist())


def shifted(length: int, shift: int) -> Reading:
    """Return the reading by which every offset is `shift` characters too low."""
    return Reading(
        f"characters, {abs(shift):,} too {'low' if shift > 0 else 'high'}", range(-shift, length + 1 - shift)
    )


def _units(codes: Int[np.ndarray, " characters"]) -> dict[str, Widths]:
    """Return the width of every character in each unit."""
    found = {"": np.ones(len(codes), dtype=np.int64)}
    if (codes > 0xFFFF).any():
        found["units of UTF-16"] = 1 + (codes > 0xFFFF)
    if (codes > 0x7F).any():
        found[_BYTES] = 1 + (codes > 0x7F).astype(np.int64) + (codes > 0x7FF) + (codes > 0xFFFF)
    return found


def _line_ends(codes: Int[np.ndarray, " characters"]) -> dict[str, Widths]:
    """Return the widths of line ends that are counted as written by another system; -1 for other characters."""
    feeds = codes == ord("\n")
    returns = np.append((codes[:-1] == ord("\r")) & feeds[1:], False) if len(codes) else feeds
    bare = feeds & ~np.append(False, returns[:-1]) if len(codes) else feeds
    found = {"line ends of one character": np.where(returns, 0, -1)} if returns.any() else {}
    return found | ({"line ends of two characters": np.where(bare, 2, -1)} if bare.any() else {})


def _escapes(text: str, codes: Int[np.ndarray, " characters"]) -> Mapping[str, Widths]:
    """Return the widths of HTML escapes counted as one character, or of characters counted as their escapes."""
    found = {}
    whole = [match for match in _ESCAPE.finditer(text) if len(html.unescape(match[0])) == 1]
    if whole:
        widths = np.full(len(codes), -1)
        for match in whole:
            widths[match.start() : match.end()] = 0
            widths[match.end() - 1] = 1
        found["HTML escapes of one character"] = widths
    for name, escaped, needed in (("HTML, escaped", "&<>", "&<>"), ("HTML, escaped with its quotes", '&<>"', '"')):
        if any(character in text for character in needed):
            widths = np.full(len(codes), -1)
            for character in escaped:
                widths[codes == ord(character)] = len(html.escape(character))
            found[name] = widths
    return found


def _edges(text: str, joints: Sequence[int]) -> Mapping[str, Widths]:
    """Return the widths of white space at the edges of passages that is not counted, and of joints."""
    found = {}
    edges, bounds = np.full(len(text), -1), [-1, *joints, len(text)]
    for before, after in zip(bounds[:-1], bounds[1:], strict=True):
        for match in _EDGE.finditer(text[before + 1 : after]):
            edges[before + 1 + match.start() : before + 1 + match.end()] = 0
    if (edges == 0).any():
        found["a text without white space at its edges"] = edges
    for name, width in (("passages with nothing between them", 0), ("passages with two characters between them", 2)):
        if joints:
            widths = np.full(len(text), -1)
            widths[list(joints)] = width
            found[name] = widths
    return found
