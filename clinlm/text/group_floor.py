"""Which terms learnt from notes may be stored: those of several groups (patients), so that none is a person's own."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, final

import numpy as np
from jaxtyping import Int

log = logging.getLogger(__name__)

MIN_GROUPS: Final = 5
"""Groups whose training texts must have a term, unless a task sets another number."""


@final
@dataclass(frozen=True)
class GroupFloor:
    """The groups of training texts, and how many of them must have a term.

    Attributes:
        groups: number of the group of every text, from 0.
        least: groups that must have a term, at least 1; 1 keeps all terms.
    """

    groups: Int[np.ndarray, " texts"]
    least: int

    @classmethod
    def of(cls, groups: Sequence[Any], least: int = MIN_GROUPS) -> Self:
        """Number the groups."""
        return cls(np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1), least)

    def count(
        self, texts: Int[np.ndarray, " pairs"], terms: Int[np.ndarray, " pairs"], size: int
    ) -> Int[np.ndarray, " terms"]:
        """Return how many groups have each of `size` terms.

        Args:
            texts: number of a text that has the term of the same place in `terms`; pairs may repeat.
        """
        pairs = np.unique(self.groups[texts].astype(np.int64) * size + terms)
        return np.bincount(pairs % max(1, size), minlength=size)

    def warn(self, kept: int, rare: int, what: str) -> None:
        """Log a warning if no term is kept because too few groups have it.

        Args:
            kept: terms learnt.
            rare: terms left out.
            what: which terms, in words.
        """
        if rare and not kept:
            log.warning(
                "no %s is in the training texts of at least %d groups (patients): the vocabulary, of %d groups, holds "
                "little more than single characters; use more documents, or lower task.min_groups",
                what,
                self.least,
                len(np.unique(self.groups)),
            )


@final
@dataclass(frozen=True)
class LearntTerms:
    """A vocabulary that was learnt from notes, for cards.

    Attributes:
        kept: terms that it has.
        rare: terms left out because fewer than `min_groups` groups have them.
    """

    kept: int
    rare: int
    min_groups: int

    def __str__(self) -> str:
        if self.min_groups == 1:
            return (
                f"{self.kept:,} terms learnt from the training notes, those of single patients among them: keep it "
                "where the notes are"
            )
        return (
            f"{self.kept:,} terms learnt from the training notes, each found in at least {self.min_groups} groups "
            f"(patients); {self.rare:,} of fewer groups left out (task.min_groups={self.min_groups})"
        )
