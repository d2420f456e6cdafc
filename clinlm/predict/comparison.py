"""Two models on the same notes: what is counted as they answer, and what it says."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from clinlm.predict.answers import Said

S = TypeVar("S", bound=Said)


class Comparison(ABC, Generic[S]):
    """Counts of what two models said, in constant memory. Subclasses are final, one per kind of answer."""

    headings: ClassVar[Sequence[str]]
    """Of what `cells` tells of a label."""

    @abstractmethod
    def counts(self) -> dict[str, Any]:
        """Return everything counted so far, as JSON."""

    @abstractmethod
    def add(self, artifact: S, shadow: S) -> None:
        """Count one window. A window without notes changes nothing."""

    @abstractmethod
    def summary(self) -> dict[str, Any]:
        """Return the agreement and the drift, as JSON.

        `labels` tells of every label its `agreement` and more. `drift` is as
        `clinlm.predict.drift_monitor.Course.drift`.
        """

    @abstractmethod
    def headline(self, agreement: Mapping[str, float]) -> str:
        """Return the `agreement` of a summary in words."""

    @abstractmethod
    def cells(self, label: Mapping[str, float]) -> list[str]:
        """Return what a summary says of a label, a cell a heading."""
