"""Two models that label the same notes: where they agree, and whether what either says drifts, from counts alone."""

from collections.abc import Mapping
from typing import Any, final

import numpy as np

from clinlm.predict.answers import Judged
from clinlm.predict.comparison import Comparison
from clinlm.predict.drift import histogram, holm, mcnemar_p
from clinlm.predict.drift_monitor import Course


@final
class Shadow(Comparison[Judged]):
    """Counts of the labels that two models gave notes.

    Args:
        labels: their names.
        counts: what another `Shadow` counted, to go on from; None to begin.
    """

    headings = ("rate", "of shadow", "agree", "differ by", "p (McNemar, Holm)")

    def __init__(self, labels: tuple[str, ...], counts: dict[str, Any] | None) -> None:
        self.labels = labels
        self._course = Course(labels, counts)
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
            }
        self._counts = counts

    def counts(self) -> dict[str, Any]:
        """See `Comparison.counts`."""
        return {**self._counts, **self._course.counts()}

    def add(self, artifact: Judged, shadow: Judged) -> None:
        """See `Comparison.add`."""
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
        }
        self._course.add(documents, bins, np.stack([a.sum(axis=0), b.sum(axis=0)]))

    def summary(self) -> dict[str, Any]:
        """See `Comparison.summary`."""
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
            "drift": self._course.drift(),
            "periods": self._course.periods(),
        }

    def headline(self, agreement: Mapping[str, float]) -> str:
        """See `Comparison.headline`."""
        return (
            f"{agreement['documents']:.2%} of documents in all labels, {agreement['decisions']:.2%} of decisions; "
            f"probabilities differ by {agreement['mean_absolute_difference']:.4f} on average, by "
            f"{agreement['largest_difference']:.4f} at most"
        )

    def cells(self, label: Mapping[str, float]) -> list[str]:
        """See `Comparison.cells`."""
        shares = [f"{label[name]:.2%}" for name in ("rate", "shadow_rate", "agreement")]
        return [*shares, f"{label['mean_absolute_difference']:.4f}", f"{label['mcnemar_p_corrected']:.3g}"]

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
        between = self._course.between(place)
        return told if between is None else {**told, "stability_between_models": between}
