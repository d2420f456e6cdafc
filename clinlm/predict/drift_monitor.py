"""What two models say in the course of a run: whether it drifts, and how often they say it, period by period."""

from typing import Any, final

import numpy as np
from jaxtyping import Int

from clinlm.predict.drift import SHIFT, SIGNIFICANT, holm, stability, stability_p

PERIODS = 32
"""Rates over time are kept for at most so many periods; where there would be more, neighbours become one."""

MODELS = ("artifact", "shadow")


@final
class Course:
    """Histograms of the first window and of all later ones, and counts by period.

    Args:
        labels: their names.
        counts: what another `Course` counted, to go on from, perhaps among other things; None to begin.
    """

    def __init__(self, labels: tuple[str, ...], counts: dict[str, Any] | None) -> None:
        self.labels = labels
        begun: dict[str, Any] = {"first": None, "later": None, "width": 1, "periods": []}
        self._counts: dict[str, Any] = begun if counts is None else {name: counts[name] for name in begun}

    def counts(self) -> dict[str, Any]:
        """Return everything counted so far, as JSON."""
        return dict(self._counts)

    def add(
        self,
        documents: int,
        histograms: Int[np.ndarray, "models labels bins"],
        predicted: Int[np.ndarray, "models labels"],
    ) -> None:
        """Count one window that has notes.

        Args:
            documents: notes.
            histograms: of every label, each note counted once, by either model.
            predicted: how often every label is predicted by either model.
        """
        had = self._counts
        self._counts = {
            "first": had["first"] or histograms.tolist(),
            "later": (np.array(had["later"] or 0) + histograms).tolist() if had["first"] else None,
            **_periods(had["width"], had["periods"], [documents, *predicted.tolist()]),
        }

    def between(self, label: int) -> float | None:
        """Return the stability index of one model's histogram of a label against the other's; None without notes."""
        counts = self._counts
        if not counts["first"]:
            return None
        every = np.array(counts["first"]) + np.array(counts["later"] or 0)
        return stability(*every[:, label])

    def drift(self) -> dict[str, Any] | None:
        """Return how far later windows differ from the first, as JSON; None where nothing came later."""
        counts = self._counts
        if not counts["later"]:
            return None
        told: dict[str, Any] = {"shifted_if": f"stability above {SHIFT} with a corrected p below {SIGNIFICANT}"}
        for model, first, later in zip(MODELS, np.array(counts["first"]), np.array(counts["later"]), strict=True):
            values = [stability(a, b) for a, b in zip(first, later, strict=True)]
            corrected = holm([stability_p(a, b) for a, b in zip(first, later, strict=True)])
            labels = {
                label: {"stability": value, "p_corrected": p}
                for label, value, p in zip(self.labels, values, corrected, strict=True)
            }
            shifted = [one for one, at in labels.items() if at["stability"] > SHIFT and at["p_corrected"] < SIGNIFICANT]
            told[model] = {"shifted": shifted, "labels": labels}
        return told

    def periods(self) -> list[dict[str, Any]]:
        """Return how often every label is predicted, a note, period by period, as JSON."""
        return [
            {"documents": many, "artifact": _rates(self.labels, a, many), "shadow": _rates(self.labels, b, many)}
            for _, many, a, b in self._counts["periods"]
        ]


def _periods(width: int, periods: list[list[Any]], window: list[Any]) -> dict[str, Any]:
    """Return the periods with one window more; each is [windows, documents, decided by artifact, by shadow]."""
    grown = [list(one) for one in periods]
    if grown and grown[-1][0] < width:
        grown[-1] = _joined(grown[-1], [1, *window])
    else:
        grown.append([1, *window])
    if len(grown) > PERIODS:
        pairs = [grown[place : place + 2] for place in range(0, len(grown), 2)]
        grown, width = [_joined(*pair) if len(pair) == 2 else pair[0] for pair in pairs], width * 2
    return {"width": width, "periods": grown}


def _joined(a: list[Any], b: list[Any]) -> list[Any]:
    return [a[0] + b[0], a[1] + b[1], *(np.add(x, y).tolist() for x, y in zip(a[2:], b[2:], strict=True))]


def _rates(labels: tuple[str, ...], decided: list[int], documents: int) -> dict[str, float]:
    return {label: many / documents for label, many in zip(labels, decided, strict=True)}
