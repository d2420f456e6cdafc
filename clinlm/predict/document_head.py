"""Labels of a note."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
import polars as pl
import torch
from jaxtyping import Float

from clinlm.predict.answer_head import AnswerHead, TokenizedNotes
from clinlm.predict.document_comparison import DocumentComparison
from clinlm.predict.predictions import DocumentPredictions, Row, rounded
from clinlm.tasks.inference_config import InferenceConfig


@final
class DocumentHead(AnswerHead[DocumentPredictions]):
    """Labels of a note: `labels` (list, decided at the saved thresholds) and `probabilities` (by label)."""

    by_word = False

    def __init__(self, config: InferenceConfig) -> None:
        super().__init__(config, config.labels)

    def pool(
        self, logits: Sequence[torch.Tensor | None], notes: TokenizedNotes
    ) -> Float[np.ndarray, "documents labels"]:
        if not notes.notes:
            return np.zeros((0, len(self.labels)), np.float32)
        missing = torch.full((len(self.labels),), torch.nan)
        rows = torch.stack([missing if row is None else row.float() for row in logits])
        return self.config.long_notes.pool(rows, torch.tensor(notes.document), notes.notes).numpy()

    def decide(self, logits: Float[np.ndarray, "documents labels"], notes: TokenizedNotes) -> DocumentPredictions:
        probabilities = self.config.probabilities(logits)
        return DocumentPredictions(probabilities, self.config.decide(probabilities))

    def schema(self) -> dict[str, Any]:
        return {
            "labels": pl.List(pl.String()),
            "probabilities": pl.Struct({label: pl.Float64() for label in self.labels}),
        }

    def rows(self, predictions: DocumentPredictions) -> list[Row]:
        names = np.array(self.labels, dtype=object)
        return [
            {
                "labels": names[decided].tolist(),
                "probabilities": dict(zip(self.labels, map(rounded, values), strict=True)),
            }
            for decided, values in zip(predictions.decided, predictions.probabilities.tolist(), strict=True)
        ]

    def predicted(self, predictions: DocumentPredictions) -> Mapping[str, int]:
        return dict(zip(self.labels, predictions.decided.sum(axis=0).tolist(), strict=True))

    def comparison(self, counts: dict[str, Any] | None) -> DocumentComparison:
        return DocumentComparison(self.labels, counts)
