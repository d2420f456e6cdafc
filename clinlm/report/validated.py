"""What a validation of a compressed model against its original holds, and what it is made from: data only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import polars as pl
from jaxtyping import Float

from clinlm.metrics.agreement import Agreement
from clinlm.metrics.bootstrap import Interval
from clinlm.metrics.calibration import BINS, Calibration
from clinlm.metrics.disagreements import Pattern
from clinlm.metrics.fairness import Fairness

ValidationLogits = Float[np.ndarray, "validation outputs"]
TestLogits = Float[np.ndarray, "test outputs"]


@final
@dataclass(frozen=True)
class Answers:
    """What a model answered to the documents of a task, as `Artifact.predictions` gives it.

    Attributes:
        name: of the model.
        validation: logits of the validation documents: thresholds and temperatures come from them.
        test: logits of the test documents, of which everything else is told.
    """

    name: str
    validation: ValidationLogits
    test: TestLogits


@final
@dataclass(frozen=True)
class ValidationSettings:
    """How a validation is made.

    Attributes:
        metric: key of METRICS that subgroups are compared by.
        minimum_documents: that a subgroup needs to count in a gap.
        bins: of the calibration error.
        resamples: of every bootstrap.
        by_group: resample whole groups (patients), as notes of one patient are not independent; documents otherwise.
        seed: of the draws.
    """

    metric: str = "macro_f1"
    minimum_documents: int = 30
    bins: int = BINS
    resamples: int = 1000
    by_group: bool = True
    seed: int = 0


@final
@dataclass(frozen=True)
class Drop:
    """What compression does to one metric.

    Attributes:
        original: its value, in [0, 1].
        compressed: its value.
        change: compressed - original, paired, with interval and p; negative for a loss.
        percent: the change in per cent of the original's value, with the interval of `change` in the same unit.
    """

    original: float
    compressed: float
    change: Interval
    percent: Interval


@final
@dataclass(frozen=True)
class Validation:
    """A compressed model beside its original on the same test documents.

    Attributes:
        original: name.
        compressed: name.
        kind: of the task.
        labels: of the task.
        documents: of the test split.
        units: groups drawn by the bootstrap; as many as documents where every one stands for itself.
        drops: by metric.
        agreement: of the decisions.
        calibration: by model, and `compressed, tempered`: the compressed model with its temperature.
        calibration_change: `ece` and `brier`, compressed - original.
        temperatures: that validation asks for, by model. They are not applied but in `compressed, tempered`.
        fairness: by attribute.
        patterns: of disagreement, sorted by adjusted p.
        disagreements: one line a label of a document that is decided otherwise, as
            `clinlm.metrics.disagreements.listing` tells.
        settings: how it was made.
        notices: what was left out, and why.
    """

    original: str
    compressed: str
    kind: Literal["multilabel", "multiclass"]
    labels: tuple[str, ...]
    documents: int
    units: int
    drops: Mapping[str, Drop]
    agreement: Agreement
    calibration: Mapping[str, Calibration]
    calibration_change: Mapping[str, Interval]
    temperatures: Mapping[str, float]
    fairness: Mapping[str, Fairness]
    patterns: tuple[Pattern, ...]
    disagreements: pl.DataFrame
    settings: ValidationSettings
    notices: tuple[str, ...]

    @property
    def answers(self) -> str:
        """What a calibration counts."""
        return "documents x labels" if self.kind == "multilabel" else "documents"
