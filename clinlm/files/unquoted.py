"""Where bytes are outside quotes, and how many lines a block has."""

from typing import Final, final

import numpy as np
import numpy.typing as npt

_Bytes = npt.NDArray[np.uint8]
_Integers = npt.NDArray[np.int64]

_FEW: Final = 4
"""Where less than one of so many bytes is outside quotes, these bytes are copied out."""

_PART: Final = 2**18
"""Bytes compared at once."""


@final
class UnquotedBytes:
    """Finds bytes outside quotes. Of notes these are few: then only they are looked at."""

    def __init__(self, codes: _Bytes, quotes: _Integers) -> None:
        self._codes, self._quotes = codes, quotes
        starts = np.append(0, quotes[1::2] + 1)
        sizes = np.append(quotes, len(codes))[::2] - starts
        self._places: _Integers | None = None
        if int(sizes.sum()) * _FEW < len(codes):
            before = np.cumsum(sizes) - sizes
            self._places = np.arange(int(sizes.sum())) + np.repeat(starts - before, sizes)
            self._codes = codes[self._places]

    def places(self, code: int) -> _Integers:
        """Return the positions of a byte before which the number of quotes is even."""
        found = np.flatnonzero(self._codes == code)
        if self._places is not None:
            return self._places[found]
        outside: _Integers = found[np.searchsorted(self._quotes, found) % 2 == 0]
        return outside


def find_bytes(codes: _Bytes, code: int) -> _Integers:
    """Return the positions of a byte, sought in parts that stay in a processor's cache."""
    parts = [np.flatnonzero(codes[start : start + _PART] == code) + start for start in range(0, len(codes), _PART)]
    return np.concatenate([*parts, np.zeros(0, np.int64)])


def count_line_feeds(data: bytes | memoryview) -> int:
    """Count line feeds, in parts that stay in a processor's cache."""
    codes = np.frombuffer(data, dtype=np.uint8)
    return sum(
        int(np.count_nonzero(codes[start : start + _PART] == ord("\n"))) for start in range(0, len(codes), _PART)
    )
