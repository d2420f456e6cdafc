"""Comparison of two models that label the same notes."""

from collections.abc import Mapping
from typing import Any, final

import numpy as np

from clinlm.predict.comparison import Comparison
from clinlm.predict.drift import EDGES, histogram, mcnemar_p
from clinlm.predict.predictions import DocumentPredictions


@final
class DocumentComparison(Comparison[DocumentPredictions]):
    """AnswerCounts of the labels that two models predict, and how far their probabilities differ."""

    headings = ("rate", "of shadow", "agree", "differ by", "p (McNemar, Holm)")
    test = "mcnemar_p"

    def zeros(self) -> dict[str, Any]:
        counts = {name: [0] * len(self.labels) for name in ("both", "only_artifact", "only_shadow")}
        distances = {name: [0.0] * len(self.labels) for name in ("distance", "largest")}
        return {"documents": 0, "alike": 0, **counts, **distances}

    def add(self, artifact: DocumentPredictions, shadow: DocumentPredictions) -> None:
        documents = len(artifact.decided)
        if not documents:
            return
        old, a, b = self._counts, artifact.decided, shadow.decided
        distances = np.abs(artifact.probabilities - shadow.probabilities)
        self._counts = {
            "documents": old["documents"] + documents,
            "alike": old["alike"] + int((a == b).all(axis=1).sum()),
            "both": (np.array(old["both"]) + (a & b).sum(axis=0)).tolist(),
            "only_artifact": (np.array(old["only_artifact"]) + (a & ~b).sum(axis=0)).tolist(),
            "only_shadow": (np.array(old["only_shadow"]) + (b & ~a).sum(axis=0)).tolist(),
            "distance": (np.array(old["distance"]) + distances.sum(axis=0)).tolist(),
            "largest": np.maximum(old["largest"], distances.max(axis=0)).tolist(),
        }
        histograms = np.stack([histogram(model.probabilities, EDGES) for model in (artifact, shadow)])
        self._monitor.add(documents, histograms, np.stack([a.sum(axis=0), b.sum(axis=0)]))

    def headline(self, agreement: Mapping[str, float]) -> str:
        return (
            f"{agreement['documents']:.2%} of documents in all labels, {agreement['decisions']:.2%} of decisions; "
            f"probabilities differ by {agreement['mean_absolute_difference']:.4f} on average, by "
            f"{agreement['largest_difference']:.4f} at most"
        )

    def cells(self, label: Mapping[str, float]) -> list[str]:
        shares = [f"{label[name]:.2%}" for name in ("rate", "shadow_rate", "agreement")]
        return [*shares, f"{label['mean_absolute_difference']:.4f}", f"{label['mcnemar_p_corrected']:.3g}"]

    def _agreement(self, documents: int) -> dict[str, float]:
        counts = self._counts
        differ = np.array(counts["only_artifact"]) + np.array(counts["only_shadow"])
        return {
            "documents": counts["alike"] / documents,
            "decisions": 1 - float(differ.mean()) / documents,
            "mean_absolute_difference": float(np.mean(counts["distance"])) / documents,
            "largest_difference": max(counts["largest"], default=0.0),
        }

    def _compare_label(self, place: int, documents: int) -> dict[str, float]:
        counts = self._counts
        both, ours, theirs = (counts[name][place] for name in ("both", "only_artifact", "only_shadow"))
        return {
            "agreement": 1 - (ours + theirs) / documents,
            "rate": (both + ours) / documents,
            "shadow_rate": (both + theirs) / documents,
            "only_artifact": ours,
            "only_shadow": theirs,
            "mcnemar_p": mcnemar_p(ours, theirs),
            "mean_absolute_difference": counts["distance"][place] / documents,
            "largest_difference": counts["largest"][place],
        }
