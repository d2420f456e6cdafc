"""Sets of possible labels of every note (or tags of every word), and where a model abstains."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final, Self, final

import numpy as np
from jaxtyping import Bool, Float

from clinlm.config.errors import ConfigError
from clinlm.metrics.conformal import ConformalThresholds, Kind

LEVEL: Final = 0.9
"""The coverage that verdicts and summaries are about."""

Cells = Bool[np.ndarray, "units outputs"]


@final
@dataclass(frozen=True)
class PredictionSets:
    """What conformal thresholds say about the answers of a model, at one coverage.

    Attributes:
        possible: the set: labels of a note, or tags of a word.
        present: the presence of the label is not excluded; as `possible` for entities, which have no such thresholds.
        absent: its absence is not excluded; True throughout unless labels are independent.
        undecided: labels that are neither surely present (only their presence is not excluded) nor surely absent; also
            those between both thresholds, where neither is plausible. Where exactly one label is true, those of a set
            that has not exactly one; of an empty set the predicted one.
        abstained: of a unit: some label that matters is not settled. A label matters if it is predicted or in the
            set; it is settled if it is surely what the model predicts.
    """

    possible: Cells
    present: Cells
    absent: Cells
    undecided: Cells
    abstained: Bool[np.ndarray, " units"]

    @classmethod
    def of(
        cls,
        probabilities: Float[np.ndarray, "units outputs"],
        decided: Cells,
        thresholds: ConformalThresholds,
        kind: Kind,
    ) -> Self:
        """Return the sets of a model.

        Args:
            probabilities: units x outputs; where one is NaN nothing is possible.
            decided: what the model predicts.
        """
        possible = probabilities >= thresholds.possible
        if kind == "multilabel":
            present = probabilities >= np.array(thresholds.present)
            absent = probabilities <= np.array(thresholds.absent)
            undecided = present == absent
            abstained = ((decided | possible) & (undecided | (present != decided))).any(axis=1)
            return cls(possible, present, absent, undecided, abstained)
        count = possible.sum(axis=1)
        undecided = (possible | (decided & (count == 0)[:, None])) & (count != 1)[:, None]
        present = probabilities >= np.array(thresholds.present) if thresholds.present else possible
        return cls(possible, present, np.ones_like(possible), undecided, count != 1)

    def only(self, chosen: Bool[np.ndarray, " units"]) -> Self:
        """Return the sets of the chosen units."""
        return type(self)(*(getattr(self, each.name)[chosen] for each in fields(self)))

    def joined(self, other: Self, own: Bool[np.ndarray, " units"]) -> Self:
        """Return these sets for the units of `own`, and those of `other` for the rest; both are of all units."""
        pairs = [(getattr(self, each.name), getattr(other, each.name)) for each in fields(self)]
        return type(self)(*(np.where(own[:, None] if a.ndim == 2 else own, a, b) for a, b in pairs))


def at_coverage(thresholds: Sequence[ConformalThresholds], coverage: float, where: str = "") -> ConformalThresholds:
    """Return the thresholds of one coverage.

    Args:
        where: the folder that they are from, for messages.

    Raises:
        ConfigError: there are none of it.
    """
    for own in thresholds:
        if abs(own.coverage - coverage) < 1e-9:
            return own
    of = f" of {where}" if where else ""
    if not thresholds:
        raise ConfigError(
            f"coverage={coverage:g} needs conformal thresholds in the serving.json{of}, got none: an older version "
            "wrote it; run its pipeline again, or leave out coverage="
        )
    known = ", ".join(f"{own.coverage:g}" for own in thresholds)
    raise ConfigError(
        f"coverage must be one of {known}, for which the serving.json{of} has thresholds, got {coverage:g}"
    )
