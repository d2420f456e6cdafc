"""Comparison of two models on the same notes, from counts in constant memory."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar, final

from clinlm.predict.drift import holm
from clinlm.predict.drift_monitor import DriftMonitor
from clinlm.predict.predictions import Predictions

P = TypeVar("P", bound=Predictions)


class Comparison(ABC, Generic[P]):
    """AnswerCounts of the predictions of two models, and their drift. Subclasses are final, one per kind of answer.

    Args:
        counts: of an earlier comparison, to continue from; None to begin.

    Attributes:
        headings: of `cells`.
        test: name of the p-value of each label that is corrected for the number of labels.
    """

    headings: ClassVar[Sequence[str]]
    test: ClassVar[str]

    def __init__(self, labels: tuple[str, ...], counts: dict[str, Any] | None) -> None:
        self.labels = labels
        self._monitor = DriftMonitor(labels, counts)
        self._counts = self.zeros() if counts is None else counts

    @abstractmethod
    def zeros(self) -> dict[str, Any]:
        """Return the counts before the first note, as JSON: at least `documents`."""

    @final
    def counts(self) -> dict[str, Any]:
        """Return all counts so far, as JSON."""
        return {**self._counts, **self._monitor.counts()}

    @abstractmethod
    def add(self, artifact: P, shadow: P) -> None:
        """Count one window. A window without notes changes nothing."""

    @final
    def summary(self) -> dict[str, Any]:
        """Return agreement and drift, as JSON.

        `labels` has the `agreement` of each label and more; `drift` is that of `DriftMonitor.drift`.
        """
        documents = max(1, self._counts["documents"])
        labels = {label: self._compare_label(place, documents) for place, label in enumerate(self.labels)}
        for values, p in zip(labels.values(), holm([values[self.test] for values in labels.values()]), strict=True):
            values[f"{self.test}_corrected"] = p
        for place, values in enumerate(labels.values()):
            if (between := self._monitor.between_models(place)) is not None:
                values["stability_between_models"] = between
        return {
            "documents": self._counts["documents"],
            "agreement": self._agreement(documents),
            "labels": labels,
            "drift": self._monitor.drift(),
            "periods": self._monitor.periods(),
        }

    @abstractmethod
    def headline(self, agreement: Mapping[str, float]) -> str:
        """Return the `agreement` of a summary in words."""

    @abstractmethod
    def cells(self, label: Mapping[str, float]) -> list[str]:
        """Return the summary of a label, one cell per heading."""

    @abstractmethod
    def _agreement(self, documents: int) -> dict[str, float]:
        """Return the agreement over all labels."""

    @abstractmethod
    def _compare_label(self, place: int, documents: int) -> dict[str, float]:
        """Return what is known of a label."""
