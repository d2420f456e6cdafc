"""One line of a comparison: what a stage or a baseline cost and what it is worth."""

from dataclasses import dataclass, field
from typing import Any, Literal, final

from clinlm.metrics.bootstrap import Interval
from clinlm.metrics.economics import Economics
from clinlm.metrics.latency import Latency


@final
@dataclass(frozen=True)
class Row:
    """A stage or a baseline, measured on the test split.

    Attributes:
        name: of the stage or of the baseline.
        kind: whether it is a stage of the pipeline, stands beside it, or is several of its teachers as one.
        key: of its artifact, "" for a baseline that has none.
        parameters: numbers in the model.
        nonzero: of them, those that are not 0.
        bytes: of what is deployed, on disk.
        seconds: of training.
        cached: whether the stage was found in the store and `seconds` are those of the run that trained it.
        role: of the stage; "teacher" for an ensemble, "" for a baseline.
        engine: what runs it.
        quality: metric -> value in [0, 1]; NaN where undefined, empty until it is measured.
        intervals: metric -> 95 % bootstrap interval.
        differences: metric -> this row minus the reference row, paired; empty for the reference itself.
        validation: metric -> value on validation: what choices between models may be made by.
        deviations: metric -> standard deviation over seeds, where the row is a mean over several; else empty.
        latency: per document, None if it was not measured.
        peak_mib: peak resident memory of a process that loads and runs it, in MiB; None if it was not measured.
        deployment: of a row that is an artifact on an engine: `of` (the artifact's row), `folder` and what is in its
            `deployment.json`; else empty.
        takes, labeler_takes: what 1,000 notes take, by this row and by the labeler that it learned from, where that is
            told.
        compression_parameters: parameters of the reference / of this row; NaN where this has none.
        compression_bytes: bytes of the reference / of this row; NaN where this has none.
    """

    name: str
    kind: Literal["baseline", "stage", "ensemble"]
    key: str
    parameters: int
    nonzero: int
    bytes: int
    seconds: float
    cached: bool
    role: Literal["teacher", "student", ""] = ""
    engine: str = "torch"
    quality: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, Interval] = field(default_factory=dict)
    differences: dict[str, Interval] = field(default_factory=dict)
    validation: dict[str, float] = field(default_factory=dict)
    deviations: dict[str, float] = field(default_factory=dict)
    latency: Latency | None = None
    peak_mib: float | None = None
    deployment: dict[str, Any] = field(default_factory=dict)
    takes: Economics | None = None
    labeler_takes: Economics | None = None
    compression_parameters: float = 1.0
    compression_bytes: float = 1.0
