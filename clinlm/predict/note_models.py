"""The models of one process: a model, and its shadow if there is one, and what they answer to some notes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np

from clinlm.config.errors import ConfigError
from clinlm.engines.served_folder import broken
from clinlm.predict.answer_head import AnswerHead
from clinlm.predict.cascade import CascadeRunner, holds_cascade
from clinlm.predict.model_runner import ModelRunner, Runner
from clinlm.predict.predictions import Predictions, Row
from clinlm.predict.tfidf_runner import TfidfRunner, holds_tfidf
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.terminology.lexicon import MASK

_PROBE = ("Fever, no cough; 38.5 °C. Naïve to \U0001f489.",)
PREFIXES = ("", "shadow_")
"""Of the values of a model, and of its shadow."""


class NoteAnswers(NamedTuple):
    """Answers to some notes.

    Attributes:
        rows: of every note, in order; None where a model has no answer.
        predicted, totals: see `AnswerHead`; of the model, not of its shadow.
        models: predictions of both models for the notes that have an answer; empty without a shadow.
    """

    rows: list[Row | None]
    predicted: Mapping[str, int]
    totals: Mapping[str, float]
    models: tuple[Predictions, ...]


@final
class NoteModels:
    """A model, and its shadow if there is one, each on one thread.

    Raises:
        ConfigError: they have different labels.
        MissingFileError, ModelError: a file of them is missing or broken.
    """

    def __init__(self, artifact: Path, shadow: Path | None, batch_tokens: int, coverage: float | None) -> None:
        folders = [artifact] if shadow is None else [artifact, shadow]
        self._runners = [_opened(folder, batch_tokens, coverage) for folder in folders]
        self.head: AnswerHead[Any] = self._runners[0].head
        for runner in self._runners[1:]:
            _refuse_other_labels(self.head.config, runner.head.config)
        self._heads = dict(zip(PREFIXES, (runner.head for runner in self._runners), strict=False))
        self._needs_plain = any(runner.needs_plain for runner in self._runners)

    def refuse(self, text: str) -> str:
        """Return why a model cannot read a text at all, or "" if all can."""
        if self._needs_plain and MASK in text:
            return f"the text has the character U+{ord(MASK):04X}, which stands for a masked word; the model has none"
        return ""

    def let_go(self) -> None:
        """Free the memory of the models: from now on other processes answer."""
        self._runners = []

    def schema(self) -> dict[str, Any]:
        """Return name -> polars type of the values of a row."""
        return {f"{prefix}{name}": kind for prefix, head in self._heads.items() for name, kind in head.schema().items()}

    def answer(self, texts: Sequence[str]) -> NoteAnswers:
        """Return the answers to texts, none of which is refused."""
        every = [runner.predict(texts) for runner in self._runners]
        valid = np.all([predictions.valid for predictions in every], axis=0)
        models = every if valid.all() else [predictions.only(valid) for predictions in every]
        rows: list[Row] = [{} for _ in range(int(valid.sum()))]
        for (prefix, head), predictions in zip(self._heads.items(), models, strict=True):
            for row, values in zip(rows, head.rows(predictions), strict=True):
                row |= {f"{prefix}{name}": value for name, value in values.items()} if prefix else values
        answered = iter(rows)
        return NoteAnswers(
            [next(answered) if whole else None for whole in valid.tolist()],
            self.head.predicted(models[0]),
            self.head.totals(models[0]),
            tuple(models) if len(models) > 1 else (),
        )


def _opened(folder: Path, batch_tokens: int, coverage: float | None) -> Runner:
    """Return what answers with a model, after it has answered one note: a broken file shows now, by its name."""

    def single(own: Path, sets: float | None = None) -> Runner:
        return TfidfRunner(own, sets) if holds_tfidf(own) else ModelRunner(own, batch_tokens, sets)

    with broken(folder, "hold a model that answers"):
        runner = CascadeRunner(folder, coverage, single) if holds_cascade(folder) else single(folder, coverage)
        runner.head.rows(runner.predict(_PROBE))
    return runner


def _refuse_other_labels(own: InferenceConfig, other: InferenceConfig) -> None:
    if (own.kind, own.labels) != (other.kind, other.labels):
        raise ConfigError(
            f"a model and its shadow must have the same labels in the same order; artifact is {own.kind} with "
            f"{len(own.labels)} labels, shadow is {other.kind} with {len(other.labels)}, and "
            f"{len(set(own.labels) & set(other.labels))} of them are in both; set shadow to the original of artifact"
        )
