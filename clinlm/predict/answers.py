"""What the models say of one window of notes, ready to be written."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

DIGITS = 6
"""Significant digits of a probability as written; labels are decided before it is rounded."""


class Judged(NamedTuple):
    """One model's answers.

    Attributes:
        probabilities: in [0, 1].
        decided: the labels predicted, at the thresholds that the model was saved with.
    """

    probabilities: Float[np.ndarray, "documents labels"]
    decided: Bool[np.ndarray, "documents labels"]


class Answers(NamedTuple):
    """The answers to some notes, in the order of the input. Holds nothing of their texts.

    Attributes:
        ids: of the notes.
        lines: on which they start in the input.
        labels: names of the labels.
        models: by the prefix of what is written: "" the model, "shadow_" its shadow.
    """

    ids: list[str]
    lines: list[int]
    labels: tuple[str, ...]
    models: dict[str, Judged]

    def predicted(self, prefix: str) -> list[list[str]]:
        """Return the names of the labels of every note."""
        names = np.array(self.labels, dtype=object)
        return [names[row].tolist() for row in self.models[prefix].decided]

    def rounded(self, prefix: str) -> list[list[float]]:
        """Return the probabilities of every note, to `DIGITS` significant digits."""
        return [[float(f"{value:.{DIGITS}g}") for value in row] for row in self.models[prefix].probabilities.tolist()]
