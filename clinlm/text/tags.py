"""Converts spans to one tag per word and back: O, B-X for the first word of an X, I-X for the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Int

from clinlm.config.errors import DataError
from clinlm.terminology.spans import Span
from clinlm.text.words import Words

OUTSIDE = "O"


@final
@dataclass(frozen=True)
class Tags:
    """The tags of some labels: number 0 is O, 2i + 1 and 2i + 2 are B-X and I-X of label i.

    Source: Ramshaw & Marcus 1995, "Text chunking using transformation-based learning", with B for every first word
    (IOB2: Sang & Veenstra 1999).

    Attributes:
        labels: each once, in the order of the tags.
    """

    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.labels or len(set(self.labels)) != len(self.labels):
            raise DataError(f"labels must be unique and not empty, got {list(self.labels)}")

    @classmethod
    def of(cls, labels: Sequence[str]) -> "Tags":
        """Return the tags of labels, in their order."""
        return cls(tuple(labels))

    @classmethod
    def named(cls, names: Sequence[str]) -> "Tags":
        """Return the tags with these names.

        Raises:
            DataError: these are not the names of tags.
        """
        found = cls(tuple(name[2:] for name in names[1::2]))
        if found.names != tuple(names):
            raise DataError(f"tag names must be O, then B-X and I-X of every label X, got {list(names)}")
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tags: O, then B-X and I-X of every label X."""
        return (OUTSIDE, *(f"{part}-{label}" for label in self.labels for part in "BI"))

    def encode(self, spans: Sequence[Span], words: Words) -> Int[np.ndarray, " words"]:
        """Return the tag of every word, given spans that do not overlap; see `widened` for edges within words.

        Raises:
            ValueError: spans share a character, or one has another label.
        """
        tags = np.zeros(len(words), np.int64)
        for label, first, last in self._covered(spans, words):
            tags[first:last] = 2 * label + 2
            tags[first] = 2 * label + 1
        return tags

    def decode(self, tags: Int[np.ndarray, " words"], words: Words) -> list[Span]:
        """Return the spans of tags, in order.

        I-X after anything but B-X or I-X begins a span, as in the evaluation of CoNLL 2000 (conlleval), so that any
        tags can be decoded.

        Raises:
            ValueError: there is not one valid tag per word.
        """
        if tags.shape != (len(words),) or (len(tags) and not 0 <= tags.min() <= tags.max() < len(self.names)):
            raise ValueError(
                f"every word must have one tag < {len(self.names)}, got {len(tags)} tags for {len(words)} words"
            )
        label = (tags - 1) // 2  # -1 for O
        inside = tags > 0
        begins = inside & ((tags % 2 == 1) | np.append(True, label[1:] != label[:-1])[: len(tags)])
        ends = inside & np.append((begins | ~inside)[1:], True)[: len(tags)]
        found = zip(words[begins, 0].tolist(), words[ends, 1].tolist(), label[begins].tolist(), strict=True)
        return [Span(start, end, self.labels[number]) for start, end, number in found]

    def widened(self, spans: Sequence[Span], words: Words) -> list[Span]:
        """Return the spans as tags can represent them: from the start of a word to the end of a word.

        An edge inside a word moves out to the edge of the word, an edge in white space moves in to the nearest word. Of
        two spans that would then share words the first keeps them, and the other gets the rest. A span without words of
        its own is dropped. Where all edges are edges of words, spans stay as they are.

        Raises:
            ValueError: as in `encode`.
        """
        return [
            Span(int(words[first, 0]), int(words[last - 1, 1]), self.labels[label])
            for label, first, last in self._covered(spans, words)
        ]

    def _covered(self, spans: Sequence[Span], words: Words) -> list[tuple[int, int, int]]:
        """Return label, first word and last word (exclusive) of every span with a word of its own, in order."""
        ordered = sorted(spans)
        if any(before.end > after.start for before, after in zip(ordered, ordered[1:], strict=False)):
            raise ValueError("spans must not overlap, but some do; call flatten(spans)")
        if unknown := {span.label for span in ordered} - set(self.labels):
            raise ValueError(f"labels of spans must be among {list(self.labels)}, got {sorted(unknown)}")
        firsts = np.searchsorted(words[:, 1], [span.start for span in ordered], side="right").tolist()
        lasts = np.searchsorted(words[:, 0], [span.end for span in ordered], side="left").tolist()
        found, taken = [], 0
        for span, first, last in zip(ordered, firsts, lasts, strict=True):
            if max(first, taken) < last:
                found.append((self.labels.index(span.label), max(first, taken), last))
                taken = last
        return found
