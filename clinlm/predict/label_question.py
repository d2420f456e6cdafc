"""Which labels a note has."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
import polars as pl
import torch

from clinlm.predict.answers import Judged, Written, rounded
from clinlm.predict.question import Question, Reading
from clinlm.predict.shadow import Shadow
from clinlm.tasks.inference_config import InferenceConfig

BETWEEN = ";"
"""What stands between the labels of a note in a table without lists."""


@final
class LabelQuestion(Question[Judged]):
    """Which labels a note has: `labels` (list, decided at the saved thresholds) and `probabilities` (by label).

    In a table without lists: `labels`, joined by `;`, and a column `p_<label>` a label.
    """

    by_word = False

    def __init__(self, serving: InferenceConfig) -> None:
        super().__init__(serving, serving.labels)

    def said(self, logits: Sequence[torch.Tensor | None], reading: Reading) -> Judged:
        """See `Question.said`: the rows of a note are pooled."""
        if not reading.notes:
            return Judged(np.zeros((0, len(self.labels))), np.zeros((0, len(self.labels)), dtype=bool))
        silent = torch.full((len(self.labels),), torch.nan)
        rows = torch.stack([silent if one is None else one.float() for one in logits])
        pooled = self.serving.long_notes.pool(rows, torch.tensor(reading.document), reading.notes)
        probabilities = self.serving.probabilities(pooled.numpy())
        return Judged(probabilities, self.serving.decide(probabilities))

    def schema(self) -> dict[str, Any]:
        """See `Question.schema`."""
        return {
            "labels": pl.List(pl.String()),
            "probabilities": pl.Struct({label: pl.Float64() for label in self.labels}),
        }

    def rows(self, said: Judged) -> list[Written]:
        """See `Question.rows`."""
        names = np.array(self.labels, dtype=object)
        return [
            {
                "labels": names[decided].tolist(),
                "probabilities": dict(zip(self.labels, map(rounded, values), strict=True)),
            }
            for decided, values in zip(said.decided, said.probabilities.tolist(), strict=True)
        ]

    def headings(self) -> list[str]:
        """See `Question.headings`."""
        wrong = [label for label in self.labels if BETWEEN in label]
        if wrong:
            raise ValueError(
                f"labels in CSV are joined by {BETWEEN!r}; the label {wrong[0]!r} has one in its name; write to a "
                ".jsonl or .parquet file"
            )
        return ["labels", *(f"p_{label}" for label in self.labels)]

    def cells(self, row: Written, prefix: str) -> list[Any]:
        """See `Question.cells`."""
        return [BETWEEN.join(row[f"{prefix}labels"]), *row[f"{prefix}probabilities"].values()]

    def predicted(self, said: Judged) -> Mapping[str, int]:
        """See `Question.predicted`: by how many notes."""
        return dict(zip(self.labels, said.decided.sum(axis=0).tolist(), strict=True))

    def totals(self, said: Judged) -> Mapping[str, float]:
        """See `Question.totals`: nothing else."""
        return {}

    def told(self, totals: Mapping[str, float]) -> Sequence[str]:
        """See `Question.told`: nothing."""
        return []

    def comparison(self, counts: dict[str, Any] | None) -> Shadow:
        """See `Question.comparison`."""
        return Shadow(self.labels, counts)
