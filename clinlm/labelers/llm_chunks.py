"""A long note in pieces that fit into a request: cut at ends of sentences, overlapping, no character left out."""

import re

_PARAGRAPH = re.compile(r"\n\s*\n")
_SENTENCE = re.compile(r"(?:[.!?][)\"'”’]*|\n)\s+|\n")
_SPACE = re.compile(r"\s+")


def chunks(text: str, longest: int, overlap: int) -> list[tuple[int, int]]:
    """Return start and end (exclusive) of the pieces of a text, in characters, ascending.

    Every character lies in a piece. A piece ends, in its second half, behind the last paragraph, else sentence or line,
    else word, else anywhere; the next one begins where the first sentence or line (else word, else anywhere) within the
    last `overlap` characters begins, and at the piece's end where `overlap` is 0.

    Args:
        text: of a note.
        longest: characters of a piece, at most.
        overlap: characters that a piece shares with the one before, at most; less than half of `longest`.

    Raises:
        ValueError: the lengths are out of their range.
    """
    if not 0 <= overlap < longest / 2:
        raise ValueError(f"pieces overlap by less than half of their length; {overlap} of {longest} characters came")
    found, start = [], 0
    while len(text) - start > longest:
        middle, last = start + longest // 2, start + longest
        end = next((cut for way in (_PARAGRAPH, _SENTENCE, _SPACE) if (cut := _last(way, text, middle, last))), last)
        found.append((start, end))
        start = max(_begin(text, end - overlap, end), start + 1)
    return [*found, (start, len(text))]


def _last(way: re.Pattern[str], text: str, low: int, high: int) -> int:
    """Where the last match between two places ends; 0 where there is none."""
    return max((match.end() for match in way.finditer(text, low, high)), default=0)


def _begin(text: str, low: int, high: int) -> int:
    if low >= high:
        return high
    return next((match.end() for way in (_SENTENCE, _SPACE) for match in way.finditer(text, low, high)), low)
