"""How often chosen words and word pairs occur in texts, read exactly as scikit-learn's vectorizer reads them."""

from collections.abc import Sequence
from typing import final

import numpy as np
from jaxtyping import Int
from sklearn.feature_extraction.text import TfidfVectorizer


@final
class TermCounter:
    """Counts known terms of one and two words; texts are lower-cased and lose their accents.

    Preprocessing and words are those of `TfidfVectorizer`, and so are the counts. It is faster because it looks up
    words only: it spells no pair.

    Args:
        terms: distinct words, or pairs of words separated by one space, as the vectorizer spells them.
    """

    def __init__(self, terms: Sequence[str]) -> None:
        vectorizer = TfidfVectorizer(strip_accents="unicode", lowercase=True)
        self._plain, self._split = vectorizer.build_preprocessor(), vectorizer.build_tokenizer()
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
        words = [[known.get(word, -1) for word in self._split(self._plain(text))] for text in texts]
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
