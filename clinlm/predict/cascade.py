"""A cascade: a small model answers, and the notes of which it is in doubt are answered by a larger one."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from clinlm.config.errors import ModelError
from clinlm.engines.served_folder import REMEDY, check_folder, read_facts, read_serving
from clinlm.metrics.deferral import doubt, is_deferred
from clinlm.predict.document_head import DocumentHead
from clinlm.predict.model_runner import Runner
from clinlm.predict.predictions import DocumentPredictions
from clinlm.tasks.inference_config import SERVING, InferenceConfig

CASCADE: Final = "cascade.json"
"""Of a cascade's folder: the most doubt at which the first model answers, and what it was chosen by."""
FIRST, SECOND = MEMBERS = ("first", "second")
"""Folders of a cascade's models, each of which answers by itself too."""


def holds_cascade(folder: Path) -> bool:
    """Return whether a folder holds a cascade, and not a single model."""
    return (folder / CASCADE).is_file()


@final
class CascadeRunner(Runner):
    """Predicts notes with the first model, and those of which it is in doubt, or has no answer, with the second.

    Thresholds and sets are those of the cascade, fitted on the answers of both.

    Args:
        opened: opens the model of a folder.

    Raises:
        MissingFileError: a file is missing.
        Damaged: a file has changed.
        ModelError: a file cannot be read, or the models have other labels than the cascade.
    """

    def __init__(self, folder: Path, coverage: float | None, opened: Callable[[Path], Runner]) -> None:
        check_folder(folder, (SERVING, CASCADE, *(f"{member}/{SERVING}" for member in MEMBERS)))
        config, facts = read_serving(folder), read_facts(folder / CASCADE)
        limit: Any = facts.get("most_doubt")
        if type(limit) not in (int, float) or not math.isfinite(limit):
            raise ModelError(f"{folder / CASCADE} must have a finite number as most_doubt; {REMEDY}")
        self.head, self._config, self._limit = DocumentHead(config, coverage, deferral=True), config, float(limit)
        self._first, self._second = (opened(folder / member) for member in MEMBERS)
        for runner, member in ((self._first, FIRST), (self._second, SECOND)):
            own = runner.head.config
            if (own.kind, own.labels) != (config.kind, config.labels) or own.kind == "entities":
                raise ModelError(f"the models of {folder} must have its labels, {member} has others; {REMEDY}")
        self.needs_plain = self._first.needs_plain or self._second.needs_plain

    def predict(self, texts: Sequence[str]) -> DocumentPredictions:
        first: DocumentPredictions = self._first.predict(texts)  # type: ignore[assignment]
        probabilities = np.array(first.probabilities, dtype=np.float64)
        deferred = is_deferred(doubt(first.probabilities, first.decided), self._limit)
        if deferred.any():
            asked = [text for text, own in zip(texts, deferred, strict=True) if own]
            second: DocumentPredictions = self._second.predict(asked)  # type: ignore[assignment]
            probabilities[deferred] = second.probabilities
        decided, sets = self._config.decide(probabilities), self.head.sets(probabilities)
        return DocumentPredictions(probabilities, decided, sets, deferred)


@final
class CascadeAnswer:
    """Answers one note at a time, as `CascadeRunner` does: what the latency of a cascade is measured of.

    Args:
        first, second: from a text to the predictions of one note.
        config: how the probabilities of either become decisions.
        most_doubt: at which the first model answers.
    """

    def __init__(
        self,
        first: Callable[[str], DocumentPredictions],
        second: Callable[[str], DocumentPredictions],
        config: InferenceConfig,
        most_doubt: float,
    ) -> None:
        self._first, self._second, self._config, self._limit = first, second, config, most_doubt

    def __call__(self, text: str) -> DocumentPredictions:
        """Return the decisions for a note."""
        found = self._first(text)
        deferred = is_deferred(doubt(found.probabilities, found.decided), self._limit)
        probabilities = self._second(text).probabilities if deferred.all() else found.probabilities
        return DocumentPredictions(probabilities, self._config.decide(probabilities), None, deferred)
