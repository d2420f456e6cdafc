"""Two models on the same notes: where they agree, and whether what either says drifts, from counts alone."""

from typing import Any, final

import numpy as np

from clinlm.predict.answers import Judged
from clinlm.predict.drift import SHIFT, SIGNIFICANT, histogram, holm, mcnemar_p, stability, stability_p

PERIODS = 32
"""Rates over time are kept for at most so many periods; where there would be more, neighbours become one."""

_MODELS = ("artifact", "shadow")


@final
class Shadow:
    """Counts of what two models said, in constant memory.

    Args:
        labels: their names.
        counts: what another `Shadow` counted, to go on from; None to begin.
    """

    def __init__(self, labels: tuple[str, ...], counts: dict[str, Any] | None) -> None:
        self.labels = labels
        if counts is None:
            zeros = [0] * len(labels)
            counts = {
                "documents": 0,
                "alike": 0,
                "both": zeros,
                "only_artifact": zeros,
                "only_shadow": zeros,
                "distance": [0.0] * len(labels),
                "largest": [0.0] * len(labels),
                "first": None,
                "later": None,
                "width": 1,
                "periods": [],
            }
        self._counts = counts

    def counts(self) -> dict[str, Any]:
        """Return everything counted so far, as JSON."""
        return dict(self._counts)

    def add(self, artifact: Judged, shadow: Judged) -> None:
        """Count one window. A window without notes changes nothing."""
        documents = len(artifact.decided)
        if not documents:
            return
        had, a, b = self._counts, artifact.decided, shadow.decided
        apart = np.abs(artifact.probabilities - shadow.probabilities)
        bins = np.stack([histogram(one.probabilities) for one in (artifact, shadow)])
        self._counts = {
            "documents": had["documents"] + documents,
            "alike": had["alike"] + int((a == b).all(axis=1).sum()),
            "both": (np.array(had["both"]) + (a & b).sum(axis=0)).tolist(),
            "only_artifact": (np.array(had["only_artifact"]) + (a & ~b).sum(axis=0)).tolist(),
            "only_shadow": (np.array(had["only_shadow"]) + (b & ~a).sum(axis=0)).tolist(),
            "distance": (np.array(had["distance"]) + apart.sum(axis=0)).tolist(),
            "largest": np.maximum(had["largest"], apart.max(axis=0)).tolist(),
            "first": had["first"] or bins.tolist(),
            "later": (np.array(had["later"] or 0) + bins).tolist() if had["first"] else None,
            **_periods(had["width"], had["periods"], [documents, a.sum(axis=0).tolist(), b.sum(axis=0).tolist()]),
        }

    def summary(self) -> dict[str, Any]:
        """Return the agreement and the drift, as JSON.

        `drift` is None where there was a single window of notes: nothing came later.
        """
        counts, documents = self._counts, max(1, self._counts["documents"])
        differ = np.array(counts["only_artifact"]) + np.array(counts["only_shadow"])
        labels = {label: self._label(place, documents) for place, label in enumerate(self.labels)}
        for at, p in zip(labels.values(), holm([one["mcnemar_p"] for one in labels.values()]), strict=True):
            at["mcnemar_p_corrected"] = p
        return {
            "documents": counts["documents"],
            "agreement": {
                "documents": counts["alike"] / documents,
                "decisions": 1 - float(differ.mean()) / documents,
                "mean_absolute_difference": float(np.mean(counts["distance"])) / documents,
                "largest_difference": max(counts["largest"], default=0.0),
            },
            "labels": labels,
            "drift": self._drift(),
            "periods": [
                {"documents": many, "artifact": _rates(self.labels, a, many), "shadow": _rates(self.labels, b, many)}
                for _, many, a, b in counts["periods"]
            ],
        }

    def _label(self, place: int, documents: int) -> dict[str, float]:
        counts = self._counts
        both, ours, theirs = (counts[name][place] for name in ("both", "only_artifact", "only_shadow"))
        told = {
            "agreement": 1 - (ours + theirs) / documents,
            "rate": (both + ours) / documents,
            "shadow_rate": (both + theirs) / documents,
            "only_artifact": ours,
            "only_shadow": theirs,
            "mcnemar_p": mcnemar_p(ours, theirs),
            "mean_absolute_difference": counts["distance"][place] / documents,
            "largest_difference": counts["largest"][place],
        }
        if counts["first"]:
            every = np.array(counts["first"]) + np.array(counts["later"] or 0)
            told["stability_between_models"] = stability(*every[:, place])
        return told

    def _drift(self) -> dict[str, Any] | None:
        counts = self._counts
        if not counts["later"]:
            return None
        told: dict[str, Any] = {"shifted_if": f"stability above {SHIFT} with a corrected p below {SIGNIFICANT}"}
        for model, first, later in zip(_MODELS, np.array(counts["first"]), np.array(counts["later"]), strict=True):
            values = [stability(a, b) for a, b in zip(first, later, strict=True)]
            corrected = holm([stability_p(a, b) for a, b in zip(first, later, strict=True)])
            labels = {
                label: {"stability": value, "p_corrected": p}
                for label, value, p in zip(self.labels, values, corrected, strict=True)
            }
            shifted = [one for one, at in labels.items() if at["stability"] > SHIFT and at["p_corrected"] < SIGNIFICANT]
            told[model] = {"shifted": shifted, "labels": labels}
        return told


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
