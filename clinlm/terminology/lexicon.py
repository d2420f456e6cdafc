"""What every lexicon promises: symptoms, each with the words for it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

MASK = "\ue000"
"""Stands for the masked words of one mention in a text, until tokenisation puts the tokenizer's mask token there.

From Unicode's private use area: no note has it, and no normalisation may take it away.
"""


class Lexicon(ABC):
    """Symptoms and the words for them. Subclasses are final, one per source, one per file."""

    @abstractmethod
    def terms(self) -> Mapping[str, tuple[str, ...]]:
        """Return for each symptom the ways to write it, at least one; no way to write belongs to two symptoms.

        Case and runs of white space do not count.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: it cannot be read, or holds no symptom.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Hex sha256 of all that decides `terms()` beyond the settings, such as the bytes of a file."""


def folded(term: str) -> str:
    """Return `term` as terms are compared: in lower case, with single spaces."""
    return " ".join(term.lower().split())
