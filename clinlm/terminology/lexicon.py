"""Lexicons: symptoms, each with its spellings."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

MASK = "\ue000"
"""Placeholder of a masked mention, which tokenisation replaces with the tokenizer's mask token.

It is of Unicode's private use area: no note contains it, and no normalisation may remove it.
"""


class Lexicon(ABC):
    """Symptoms and their spellings. Subclasses are final, one per source."""

    @abstractmethod
    def terms(self) -> Mapping[str, tuple[str, ...]]:
        """Return for each symptom its spellings, at least one; no spelling belongs to two symptoms.

        Case and runs of white space are ignored.

        Raises:
            MissingFileError: a file does not exist.
            DataError: it cannot be read, or holds no symptom.
        """

    def notices(self) -> Sequence[str]:
        """Return counts of what is left out of a file, or read by a rule; no text of it."""
        return ()

    @abstractmethod
    def fingerprint(self) -> str:
        """Return the hex sha256 of everything that decides `terms()` beyond the settings, such as a file's bytes."""


def normalize_term(term: str) -> str:
    """Return `term` in lower case with single spaces, as terms are compared."""
    return " ".join(term.lower().split())
