"""Conformal thresholds: the labels that may apply, with a guaranteed coverage, and where a model should abstain.

Sources: split conformal prediction by class, Vovk et al. 2005, "Algorithmic Learning in a Random World", chapter 4;
conformal risk control, Angelopoulos et al. 2024, ICLR, arXiv:2208.02814; documents in groups, Lee, Barber and Willett
2023, "Distribution-free inference with hierarchical data", arXiv:2306.06342. The coverage holds for documents of new
groups drawn as those of validation were, whatever the model. crepes and MAPIE compute the same in other ways and are
the reference of the tests; a model is served with a few numbers a label, which need neither.

Departs: validation also chose the epoch and the decision thresholds, so it is not quite a fresh sample.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, Self, final

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

COVERAGES: Final = (0.8, 0.9, 0.95)
"""Those that thresholds are stored for."""
Kind = Literal["multilabel", "multiclass", "entities"]


@final
@dataclass(frozen=True)
class ConformalThresholds:
    """Thresholds on probabilities for one coverage.

    Attributes:
        coverage: in (0, 1): least share of truths that are within the answers, in the mean over draws of validation.
        possible: a label is in the set of a note (a tag in that of a word) from this probability on. The expected
            share of the true labels of a note that its set misses is at most 1 - coverage; of words, the share of the
            entity words of a document. 0 where validation has too few documents to guarantee less than every label.
            A note without a true label misses nothing, as in the sources: where most notes have none (a single rare
            label, `unlabelled=keep`), even empty sets miss little, and `present` says more.
        present: of every label: its presence is not excluded from this probability on. Of notes with the label,
            `coverage` are not excluded. Empty for entities.
        absent: of every label: its absence is not excluded up to this probability. Of notes without the label,
            `coverage` are not excluded. Empty where exactly one label is true, and for entities.
    """

    coverage: float
    possible: float
    present: tuple[float, ...] = ()
    absent: tuple[float, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the thresholds as JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """Return what `to_json` returned."""
        return cls(content["coverage"], content["possible"], tuple(content["present"]), tuple(content["absent"]))


def fit_conformal(
    probabilities: Float[np.ndarray, "units outputs"],
    targets: Bool[np.ndarray, "units outputs"],
    documents: Int[np.ndarray, " units"],
    groups: Shaped[np.ndarray, " documents"],
    kind: Kind,
    coverages: Sequence[float] = COVERAGES,
) -> tuple[ConformalThresholds, ...]:
    """Return the thresholds of every coverage, fitted on validation.

    Args:
        probabilities, targets: units x outputs.
        documents: of every unit, its document, from 0.
        groups: of every document (its patient): its documents count as one draw together.
        kind: of the task. For entities output 0 is the tag of words outside of entities.
    """
    group = np.unique(groups, return_inverse=True)[1].reshape(-1)
    draws = int(group.max()) + 1 if len(group) else 0
    true = targets.copy()
    if kind == "entities":
        true[:, 0] = False
    unit, output = np.nonzero(true)
    truths = np.bincount(documents[unit], minlength=len(group))
    share = 1 / (truths[documents[unit]] * np.bincount(group, minlength=draws)[group[documents[unit]]])
    owner = group[documents]
    found = []
    for coverage in coverages:
        possible = _threshold(probabilities[unit, output], share, draws, coverage)
        present: tuple[float, ...] = ()
        absent: tuple[float, ...] = ()
        if kind != "entities":
            present = tuple(_of_class(column, has, owner, coverage) for column, has in _columns(probabilities, true))
        if kind == "multilabel":
            # On -p: 1 - p, the probability of absence, would be rounded.
            absent = tuple(
                -_of_class(-column, ~has, owner, coverage, -1.0) for column, has in _columns(probabilities, true)
            )
        found.append(ConformalThresholds(coverage, possible, present, absent))
    return tuple(found)


def _columns(
    probabilities: Float[np.ndarray, "units outputs"], true: Bool[np.ndarray, "units outputs"]
) -> Iterator[tuple[Float[np.ndarray, " units"], Bool[np.ndarray, " units"]]]:
    return zip(probabilities.T, true.T, strict=True)


def _of_class(
    values: Float[np.ndarray, " units"],
    chosen: Bool[np.ndarray, " units"],
    owner: Int[np.ndarray, " units"],
    coverage: float,
    least: float = 0.0,
) -> float:
    """Return the threshold of the chosen units, each weighing by its group's number of them."""
    sizes = np.bincount(owner[chosen], minlength=1)
    return _threshold(values[chosen], 1 / sizes[owner[chosen]], int((sizes > 0).sum()), coverage, least)


def _threshold(
    values: Float[np.ndarray, " truths"],
    weights: Float[np.ndarray, " truths"],
    draws: int,
    coverage: float,
    least: float = 0.0,
) -> float:
    """Return the largest of `values` below which lies at most (1 - coverage) (draws + 1) - 1 of the weight.

    The 1 stands for the note to come, which may be missed wholly. Without a value that keeps to it, `least`.
    """
    allowed = (1 - coverage) * (draws + 1) - 1
    order = np.argsort(values, kind="stable")
    ascending = values[order]
    before = np.concatenate([[0.0], np.cumsum(weights[order])])
    below = before[np.searchsorted(ascending, ascending, side="left")]
    kept = ascending[below <= allowed + 1e-9]
    return float(kept[-1]) if len(kept) else least
