"""Drift of the predictions of two models over a run, and their rates per period."""

from typing import Any, final

import numpy as np
from jaxtyping import Int

from clinlm.predict.drift import SHIFT, SIGNIFICANT, holm, stability, stability_p

PERIODS = 32
"""Maximum number of periods; where there would be more, neighbours are merged."""

MODELS = ("artifact", "shadow")


@final
class DriftMonitor:
    """Histograms of the first window and of all later ones, and counts by period.

    Args:
        counts: of an earlier monitor, perhaps among others, to continue from; None to begin.
    """

    def __init__(self, labels: tuple[str, ...], counts: dict[str, Any] | None) -> None:
        self.labels = labels
        begun: dict[str, Any] = {"first": None, "later": None, "width": 1, "periods": []}
        self._counts: dict[str, Any] = begun if counts is None else {name: counts[name] for name in begun}

    def counts(self) -> dict[str, Any]:
        """Return all counts so far, as JSON."""
        return dict(self._counts)

    def add(
        self,
        documents: int,
        histograms: Int[np.ndarray, "models labels bins"],
        predicted: Int[np.ndarray, "models labels"],
    ) -> None:
        """Count one window that has notes.

        Args:
            documents: number of notes.
            histograms: of every label, each note counted once, for each model.
            predicted: how often every label is predicted by each model.
        """
        old = self._counts
        self._counts = {
            "first": old["first"] or histograms.tolist(),
            "later": (np.array(old["later"] or 0) + histograms).tolist() if old["first"] else None,
            **_periods(old["width"], old["periods"], [documents, *predicted.tolist()]),
        }

    def between_models(self, label: int) -> float | None:
        """Return the stability index of one model's histogram of a label against the other's; None without notes."""
        counts = self._counts
        if not counts["first"]:
            return None
        every = np.array(counts["first"]) + np.array(counts["later"] or 0)
        return stability(*every[:, label])

    def drift(self) -> dict[str, Any] | None:
        """Return how far later windows differ from the first, as JSON; None where there is only one."""
        counts = self._counts
        if not counts["later"]:
            return None
        drift: dict[str, Any] = {"shifted_if": f"stability above {SHIFT} with a corrected p below {SIGNIFICANT}"}
        for model, first, later in zip(MODELS, np.array(counts["first"]), np.array(counts["later"]), strict=True):
            indices = [stability(a, b) for a, b in zip(first, later, strict=True)]
            corrected = holm([stability_p(a, b) for a, b in zip(first, later, strict=True)])
            labels = {
                label: {"stability": index, "p_corrected": p}
                for label, index, p in zip(self.labels, indices, corrected, strict=True)
            }
            shifted = [
                label
                for label, values in labels.items()
                if values["stability"] > SHIFT and values["p_corrected"] < SIGNIFICANT
            ]
            drift[model] = {"shifted": shifted, "labels": labels}
        return drift

    def periods(self) -> list[dict[str, Any]]:
        """Return how often every label is predicted per note, period by period, as JSON."""
        return [
            {"documents": many, "artifact": _rates(self.labels, a, many), "shadow": _rates(self.labels, b, many)}
            for _, many, a, b in self._counts["periods"]
        ]


def _periods(width: int, periods: list[list[Any]], window: list[Any]) -> dict[str, Any]:
    """Return the periods with another window; each is [windows, documents, predicted by artifact, by shadow]."""
    grown = [list(period) for period in periods]
    if grown and grown[-1][0] < width:
        grown[-1] = _merged(grown[-1], [1, *window])
    else:
        grown.append([1, *window])
    if len(grown) > PERIODS:
        pairs = [grown[place : place + 2] for place in range(0, len(grown), 2)]
        grown, width = [_merged(*pair) if len(pair) == 2 else pair[0] for pair in pairs], width * 2
    return {"width": width, "periods": grown}


def _merged(a: list[Any], b: list[Any]) -> list[Any]:
    return [a[0] + b[0], a[1] + b[1], *(np.add(x, y).tolist() for x, y in zip(a[2:], b[2:], strict=True))]


def _rates(labels: tuple[str, ...], decided: list[int], documents: int) -> dict[str, float]:
    return {label: many / documents for label, many in zip(labels, decided, strict=True)}
