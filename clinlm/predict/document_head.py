"""Labels of a note."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
import polars as pl
import torch

from clinlm.config.errors import ConfigError
from clinlm.predict.answer_head import AnswerHead, TokenizedNotes
from clinlm.predict.document_comparison import DocumentComparison
from clinlm.predict.predictions import DocumentPredictions, Row, rounded
from clinlm.tasks.inference_config import InferenceConfig

SEPARATOR = ";"
"""Between the labels of a note in a table without lists."""


@final
class DocumentHead(AnswerHead[DocumentPredictions]):
    """Labels of a note: `labels` (list, decided at the saved thresholds) and `probabilities` (by label).

    In a table without lists: `labels`, joined by `;`, and a column `p_<label>` per label.
    """

    by_word = False

    def __init__(self, config: InferenceConfig) -> None:
        super().__init__(config, config.labels)

    def decode(self, logits: Sequence[torch.Tensor | None], notes: TokenizedNotes) -> DocumentPredictions:
        """See `AnswerHead.decode`: the rows of a note are pooled."""
        if not notes.notes:
            empty = (0, len(self.labels))
            return DocumentPredictions(np.zeros(empty), np.zeros(empty, dtype=bool))
        missing = torch.full((len(self.labels),), torch.nan)
        rows = torch.stack([missing if row is None else row.float() for row in logits])
        pooled = self.config.long_notes.pool(rows, torch.tensor(notes.document), notes.notes)
        probabilities = self.config.probabilities(pooled.numpy())
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

    def headings(self) -> list[str]:
        wrong = [label for label in self.labels if SEPARATOR in label]
        if wrong:
            raise ConfigError(
                f"labels must not contain {SEPARATOR!r} in CSV, where it separates them; got {wrong[0]!r}; write to a "
                ".jsonl or .parquet file"
            )
        return ["labels", *(f"p_{label}" for label in self.labels)]

    def cells(self, row: Row, prefix: str) -> list[Any]:
        return [SEPARATOR.join(row[f"{prefix}labels"]), *row[f"{prefix}probabilities"].values()]

    def predicted(self, predictions: DocumentPredictions) -> Mapping[str, int]:
        """See `AnswerHead.predicted`: in notes."""
        return dict(zip(self.labels, predictions.decided.sum(axis=0).tolist(), strict=True))

    def comparison(self, counts: dict[str, Any] | None) -> DocumentComparison:
        return DocumentComparison(self.labels, counts)
