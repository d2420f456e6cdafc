"""How often chosen words and word pairs occur in texts, read exactly as scikit-learn's vectorizer reads them."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, final
from unicodedata import combining, normalize

import numpy as np
from jaxtyping import Float32, Float64, Int, Real

_WORDS: Final = re.compile(r"\b\w\w+\b")
_SLICE: Final = 64
"""Texts computed at once."""


@final
class TermCounter:
    """Counts known terms of one and two words; texts are lower-cased and lose their accents.

    Preprocessing and words are those of `TfidfVectorizer`, and so are the counts. It is faster because it looks up
    words only: it spells no pair.

    Args:
        terms: distinct words, or pairs of words separated by one space, as the vectorizer spells them.
    """

    def __init__(self, terms: Sequence[str]) -> None:
        parts = [term.split(" ") for term in terms]
        self._known = {word: number for number, word in enumerate(sorted({word for own in parts for word in own}))}
        self._terms, self._words = len(terms), len(self._known)
        self._single = np.full(self._words, -1)
        pairs = []
        for column, own in enumerate(parts):
            first, *second = (self._known[word] for word in own)
            if second:
                pairs.append((first * self._words + second[0], column))
            else:
                self._single[first] = column
        # The last pair is larger than any that occurs, so that every search ends at a pair.
        pairs = [*sorted(pairs), (self._words**2, -1)]
        self._pairs, self._pair_columns = (np.array(values) for values in zip(*pairs, strict=True))

    def __call__(
        self, texts: Sequence[str]
    ) -> tuple[Int[np.ndarray, " found"], Int[np.ndarray, " found"], Int[np.ndarray, " found"]]:
        """Return the number of the text, the number of the term and the count of every term that occurs in a text.

        In the order of texts, and then of terms.
        """
        known = self._known
        words = [[known.get(word, -1) for word in _WORDS.findall(_plain(text))] for text in texts]
        numbers = np.array([number for own in words for number in own], dtype=np.int64)
        text = np.repeat(np.arange(len(texts)), [len(own) for own in words])
        (single,) = np.nonzero(numbers >= 0)
        # Both words of a pair are known and stand in the same text.
        first = single[:-1][(single[1:] == single[:-1] + 1) & (text[single[1:]] == text[single[:-1]])]
        spelled = numbers[first] * self._words + numbers[first + 1]
        place = np.searchsorted(self._pairs, spelled)
        pair_columns = np.where(self._pairs[place] == spelled, self._pair_columns[place], -1)
        columns = np.concatenate([self._single[numbers[single]], pair_columns])
        rows = np.concatenate([text[single], text[first]])
        found, counts = np.unique((rows * self._terms + columns)[columns >= 0], return_counts=True)
        return *np.divmod(found, max(1, self._terms)), counts

    def weighted(
        self, texts: Sequence[str], idf: Float32[np.ndarray, " terms"]
    ) -> tuple[Int[np.ndarray, " found"], Int[np.ndarray, " found"], Float32[np.ndarray, " found"]]:
        """Return the weighted terms: numbers of texts and of terms, and values; those of a text have length 1.

        Term frequency is sublinear: 1 + log(count).
        """
        rows, terms, counts = self(texts)
        values = (np.log(counts.astype(np.float32)) + 1) * idf[terms]
        lengths = np.sqrt(np.bincount(rows, values.astype(np.float64) ** 2, minlength=len(texts)))
        return rows, terms, (values / lengths[rows]).astype(np.float32)

    def products(
        self, texts: Sequence[str], idf: Float32[np.ndarray, " terms"], weights: Real[np.ndarray, "terms labels"]
    ) -> Float64[np.ndarray, "documents labels"]:
        """Return the products of the weighted terms of every text with the weights of every label."""
        found = np.zeros((len(texts), weights.shape[1]))
        for start in range(0, len(texts), _SLICE):
            part = texts[start : start + _SLICE]
            rows, terms, values = self.weighted(part, idf)
            edges = np.searchsorted(rows, np.arange(len(part) + 1)).tolist()
            for place, (first, end) in enumerate(pairwise(edges), start):
                found[place] = values[first:end] @ weights[terms[first:end]]
        return found


def _plain(text: str) -> str:
    """Return the text in lower case and without accents."""
    lower = text.lower()
    return lower if lower.isascii() else "".join(c for c in normalize("NFKD", lower) if not combining(c))
