"""Labels of a note."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
from jaxtyping import Float

from clinlm.predict.answer_head import AnswerHead, RowLogits, TokenizedNotes
from clinlm.predict.document_comparison import DocumentComparison
from clinlm.predict.predictions import DocumentPredictions, Row, rounded
from clinlm.tasks.inference_config import InferenceConfig


@final
class DocumentHead(AnswerHead[DocumentPredictions]):
    """Labels of a note: `labels` (list, decided at the saved thresholds) and `probabilities` (by label).

    With a coverage also `possible` (the set), `undecided` and `abstained`; see
    `clinlm.metrics.prediction_sets.PredictionSets`. Of a cascade also `deferred`: whether its second model answered.

    Args:
        deferral: whether the predictions are a cascade's.
    """

    by_word = False

    def __init__(self, config: InferenceConfig, coverage: float | None = None, deferral: bool = False) -> None:
        super().__init__(config, config.labels, coverage)
        self._deferral = deferral

    def pool(self, logits: Sequence[RowLogits | None], notes: TokenizedNotes) -> Float[np.ndarray, "documents labels"]:
        if not notes.notes:
            return np.zeros((0, len(self.labels)), np.float32)
        missing = np.full(len(self.labels), np.nan, np.float32)
        rows = np.stack([missing if row is None else row for row in logits])
        return self.config.long_notes.pool(rows, np.array(notes.document), notes.notes)

    def decide(self, logits: Float[np.ndarray, "documents labels"], notes: TokenizedNotes) -> DocumentPredictions:
        probabilities = self.config.probabilities(logits)
        return DocumentPredictions(probabilities, self.config.decide(probabilities), self.sets(probabilities))

    def schema(self) -> dict[str, Any]:
        import polars as pl  # here: workers answer without it

        names = pl.List(pl.String())
        sets = {"possible": names, "undecided": names, "abstained": pl.Boolean()} if self.conformal else {}
        sets |= {"deferred": pl.Boolean()} if self._deferral else {}
        return {"labels": names, **sets, "probabilities": pl.Struct({label: pl.Float64() for label in self.labels})}

    def rows(self, predictions: DocumentPredictions) -> list[Row]:
        names = np.array(self.labels, dtype=object)
        found: list[Row] = [{"labels": names[decided].tolist()} for decided in predictions.decided]
        if predictions.sets is not None:
            sets = predictions.sets
            each = zip(found, sets.possible, sets.undecided, sets.abstained.tolist(), strict=True)
            for row, possible, undecided, abstained in each:
                row |= {"possible": names[possible].tolist(), "undecided": names[undecided].tolist()}
                row["abstained"] = abstained
        if predictions.deferred is not None:
            for row, deferred in zip(found, predictions.deferred.tolist(), strict=True):
                row["deferred"] = deferred
        for row, values in zip(found, predictions.probabilities.tolist(), strict=True):
            row["probabilities"] = dict(zip(self.labels, map(rounded, values), strict=True))
        return found

    def predicted(self, predictions: DocumentPredictions) -> Mapping[str, int]:
        return dict(zip(self.labels, predictions.decided.sum(axis=0).tolist(), strict=True))

    def totals(self, predictions: DocumentPredictions) -> Mapping[str, float]:
        """See `AnswerHead.totals`: notes abstained on and labels in sets, with a coverage; deferred, of a cascade.

        With either, the number of notes.
        """
        sets, counts = predictions.sets, dict[str, float]()
        if sets is not None:
            counts = {"abstained": int(sets.abstained.sum()), "possible": int(sets.possible.sum())}
        if predictions.deferred is not None:
            counts["deferred"] = int(predictions.deferred.sum())
        return {"notes": len(predictions.decided), **counts} if counts else {}

    def describe(self, totals: Mapping[str, float]) -> Sequence[str]:
        notes = totals.get("notes")
        if not notes:
            return []
        lines = []
        if "deferred" in totals:
            share = totals["deferred"] / notes
            lines.append(f"deferred   to the second model: {share:.1%} of notes ({totals['deferred']:,} of {notes:,})")
        if self.conformal is None:
            return lines
        return [
            *lines,
            f"abstained  on {totals['abstained'] / notes:.1%} of notes ({totals['abstained']:,} of {notes:,}): a label "
            f"that is predicted or possible is undecided; sets at {self.conformal.coverage:.0%} coverage have "
            f"{totals['possible'] / notes:.2f} labels",
        ]

    def comparison(self, counts: dict[str, Any] | None) -> DocumentComparison:
        return DocumentComparison(self.labels, counts)
