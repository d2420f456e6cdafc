"""The one result type of every comparison: what a model costs, how good it is, and where it comes from."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, final, get_args, get_origin, get_type_hints

import polars as pl

from clinlm.metrics.bootstrap import Interval
from clinlm.metrics.economics import Economics
from clinlm.metrics.latency import Latency
from clinlm.metrics.noninferiority import NonInferiority
from clinlm.metrics.resplits import SplitSpread
from clinlm.metrics.uncertainty import Uncertainty
from clinlm.models.artifact import Artifact
from clinlm.pipeline.gates import Verdict
from clinlm.pipeline.run_record import as_written, read_run_file
from clinlm.store.content import verified

COMBINED: Final = ("ensemble", "cascade")
"""Kinds of rows that are several models, each of which has a row of its own."""


@final
@dataclass(frozen=True)
class Lineage:
    """Where a model comes from.

    Attributes:
        pipeline: name; "" for a baseline.
        stage: name in the pipeline; "" for a baseline, an ensemble and a cascade.
        folder: of its artifact; "" where it has none.
        parent: key of the artifact that the stage started from; "" for none.
        teachers: names of the stages whose logits it learned from; of an ensemble or a cascade its members.
        techniques: keys of `clinlm.pipeline.gates.TECHNIQUES` that compressed it, ancestors included.
        overrides: what builds it from the shell; of a teacher in a sweep, with the stages that follow.
        original: folder of the model before compression, which gates compare it with; "" where no gate applies.
    """

    pipeline: str = ""
    stage: str = ""
    folder: str = ""
    parent: str = ""
    teachers: tuple[str, ...] = ()
    techniques: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    original: str = ""

    @property
    def artifact(self) -> Artifact:
        """The artifact; only where `folder` is set."""
        return Artifact(verified(Path(self.folder)))


@final
@dataclass(frozen=True)
class ModelResult:
    """A model of a comparison, evaluated on the test split; on validation where test stays closed (`nested`).

    Attributes:
        name: distinct within a comparison.
        kind: a baseline, a stage of a pipeline, the ensemble of several teachers, or a cascade of two rows.
        role: of a stage; "teacher" for an ensemble, "" for a baseline.
        group: the name without the seed: models of one group differ only in it.
        key: of the artifact, "" for a baseline without one.
        reference: name of the result that it is compared with; its own for a reference.
        bytes: of what is deployed, on disk.
        cached: whether the store had it already; `seconds` are then those of the run that trained it.
        peak_mib: peak resident memory of a process that loads and runs it, in MiB; None if not measured.
        latency: per document, from its text to the decisions; None if not measured.
        compression_parameters: parameters of the reference / own; NaN where the model has none.
        compression_bytes: bytes of the reference / own; NaN where the model has none.
        quality: metric -> value in [0, 1]; NaN where undefined. Empty for a baseline that could not be fitted.
        differences: metric -> own minus that of the reference, paired; empty for a reference.
        against_baselines: row of TF-IDF -> metric -> own minus that of the row, paired; empty for baselines.
        validation: metric -> value on validation, which alone may choose between models.
        deviations: metric -> standard deviation over seeds (n - 1) where the result is a mean over seeds; else empty.
        per_label: one mapping a label, as `Evaluation.per_label` returns, with intervals for entities.
        splits: how it varies over splits, where the numbers are means over several; else None.
        drop: strict micro F1 on an external corpus minus that on the own test documents; None where not measured.
        deployment: of an artifact on an engine: `of` (name of the artifact's result), `folder` and the contents of
            `deployment.json`; else empty.
        economics, labeler_economics: cost of 1,000 notes, of this model and of the labeler that it learned from.
        dominated_by: names of the rows that are as good in bytes, latency and quality and better in one, best first.
        non_inferiority: verdict against the reference; None for what is not a compressed model.
        uncertainty: of its sets and of its abstention; None where it was not measured.
        gates: verdict of every gate, strictest first; empty where nothing was compressed.
        notices: what limits its numbers, such as truncated notes.
    """

    name: str
    kind: Literal["baseline", "stage", "ensemble", "cascade"]
    key: str = ""
    role: Literal["teacher", "student", ""] = ""
    group: str = ""
    reference: str = ""
    engine: str = "torch"
    parameters: int = 0
    nonzero: int = 0
    bytes: int = 0
    seconds: float = math.nan
    cached: bool = False
    peak_mib: float | None = None
    latency: Latency | None = None
    compression_parameters: float = 1.0
    compression_bytes: float = 1.0
    quality: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, Interval] = field(default_factory=dict)
    differences: dict[str, Interval] = field(default_factory=dict)
    against_baselines: dict[str, dict[str, Interval]] = field(default_factory=dict)
    validation: dict[str, float] = field(default_factory=dict)
    deviations: dict[str, float] = field(default_factory=dict)
    per_label: tuple[dict[str, Any], ...] = ()
    splits: SplitSpread | None = None
    drop: Interval | None = None
    deployment: dict[str, Any] = field(default_factory=dict)
    economics: Economics | None = None
    labeler_economics: Economics | None = None
    dominated_by: tuple[str, ...] = ()
    non_inferiority: NonInferiority | None = None
    uncertainty: Uncertainty | None = None
    gates: tuple[Verdict, ...] = ()
    lineage: Lineage = Lineage()
    notices: tuple[str, ...] = ()

    @property
    def is_stage(self) -> bool:
        """Whether it is the artifact of a stage itself, not its deployment."""
        return self.kind == "stage" and not self.deployment

    @property
    def p50_ms(self) -> float | None:
        """Median latency in milliseconds; None if not measured."""
        return None if self.latency is None else self.latency.p50_ms

    def estimate(self, metric: str) -> Interval:
        """Return a metric on test with its interval, which must have been computed."""
        return Interval(self.quality[metric], self.intervals[metric].low, self.intervals[metric].high)

    def label_estimates(self, metric: str) -> dict[str, Interval]:
        """Return label -> metric with its interval, from a `per_label` that has intervals."""
        ends = ("", "_low", "_high")
        return {
            row["label"]: Interval(*(math.nan if row[metric + end] is None else row[metric + end] for end in ends))
            for row in self.per_label
        }

    def label_frame(self) -> pl.DataFrame:
        """Return `per_label` as a table, the name of the result in its first column."""
        return pl.DataFrame(self.per_label, infer_schema_length=None).select(pl.lit(self.name).alias("name"), pl.all())


def results_content(
    results: Sequence[ModelResult], notices: Sequence[str], conclusion: Sequence[str] = (), subject: str = ""
) -> dict[str, Any]:
    """Return results, notices and the sentences of the conclusion for a JSON file; NaN and infinity become null.

    What the results were timed on is there once, as `machine`; `subject` names the result that the comparison is about.
    """
    rows = [json_value(result) for result in results]
    timed = [row["latency"].pop("hardware") for row in rows if row["latency"] is not None]
    per_label = {row["name"]: row.pop("per_label") for row in rows}
    content: dict[str, Any] = {"conclusion": list(conclusion), "rows": rows, "per_label": per_label}
    return content | {"notices": list(notices), "machine": next(iter(timed), None), "subject": subject}


def read_results(path: Path) -> tuple[list[ModelResult], list[str]]:
    """Return the results and notices of a file of a run that holds `results_content`.

    Raises:
        DataError: the file is damaged.
    """
    content = read_run_file(path)
    with as_written(path):
        return decode_results(content), content["notices"]


def decode_results(content: Mapping[str, Any]) -> list[ModelResult]:
    """Return the results of the contents of `results_content`."""
    for row in content["rows"]:
        if row["latency"] is not None:
            row["latency"]["hardware"] = content.get("machine")
    results = [_decode(ModelResult, row) for row in content["rows"]]
    return [replace(r, per_label=tuple(content["per_label"][r.name])) for r in results]


def decode_interval(content: Mapping[str, Any]) -> Interval:
    """Return an interval from JSON; null is NaN."""
    found: Interval = _decode(Interval, content)
    return found


def decode_latency(content: Mapping[str, Any]) -> Latency:
    """Return a latency from JSON."""
    found: Latency = _decode(Latency, content)
    return found


def json_value(value: Any) -> Any:
    """Return `value` as JSON: dataclasses as mappings without tables, NaN and infinity as null."""
    if is_dataclass(value):
        contents = {own.name: getattr(value, own.name) for own in fields(value)}
        return {name: json_value(own) for name, own in contents.items() if not isinstance(own, pl.DataFrame)}
    if isinstance(value, Mapping):
        return {name: json_value(own) for name, own in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(own) for own in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _decode(kind: Any, value: Any) -> Any:
    """Return a value from JSON as the annotated type `kind`; null becomes NaN where a float is expected."""
    origin, arguments = get_origin(kind), get_args(kind)
    if value is None:
        return math.nan if kind is float else None
    if origin in (Union, UnionType):
        return _decode(next(own for own in arguments if own is not NoneType), value)
    if isinstance(kind, type) and is_dataclass(kind):
        hints = get_type_hints(kind)
        known = [own.name for own in fields(kind) if own.name in value]
        return kind(**{name: _decode(hints[name], value[name]) for name in known})
    if isinstance(value, dict) and arguments:
        return {name: _decode(arguments[1], own) for name, own in value.items()}
    if isinstance(value, list) and arguments:
        return tuple(_decode(arguments[0], own) for own in value)
    return value
