"""Cuts a long note into pieces that fit a request: at ends of sentences, overlapping, without leaving anything out."""

import re
from dataclasses import dataclass
from typing import final

from clinlm.config.errors import ConfigError

_PARAGRAPH = re.compile(r"\n\s*\n")
_SENTENCE = re.compile(r"(?:[.!?][)\"'”’]*|\n)\s+|\n")
_SPACE = re.compile(r"\s+")


@final
@dataclass(frozen=True)
class Chunking:
    """Length and overlap of the pieces, in characters.

    Attributes:
        overlap: maximum overlap of two consecutive pieces; less than half of `length`.
    """

    length: int
    overlap: int

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < self.length / 2:
            raise ConfigError(
                f"overlap_characters must be >= 0 and < chunk_characters / 2, got overlap_characters={self.overlap}, "
                f"chunk_characters={self.length}"
            )

    def split(self, text: str) -> list[tuple[int, int]]:
        """Return start and end (exclusive) of each piece, ascending. Every character is in a piece.

        A piece ends, within its second half, after the last paragraph, else sentence or line, else word, else anywhere.
        The next piece starts at the first sentence or line (else word, else anywhere) within the last `overlap`
        characters, and at the end of the previous piece where `overlap` is 0.
        """
        found, start = [], 0
        while len(text) - start > self.length:
            middle, last = start + self.length // 2, start + self.length
            ends = (_last_end(pattern, text, middle, last) for pattern in (_PARAGRAPH, _SENTENCE, _SPACE))
            end = next(filter(None, ends), last)
            found.append((start, end))
            start = max(_next_start(text, end - self.overlap, end), start + 1)
        return [*found, (start, len(text))]


def _last_end(pattern: re.Pattern[str], text: str, low: int, high: int) -> int:
    """Return the end of the last match between two positions; 0 where there is none."""
    return max((match.end() for match in pattern.finditer(text, low, high)), default=0)


def _next_start(text: str, low: int, high: int) -> int:
    if low >= high:
        return high
    return next((match.end() for pattern in (_SENTENCE, _SPACE) for match in pattern.finditer(text, low, high)), low)
