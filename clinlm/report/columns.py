"""The columns that every run on a dashboard has: stage, pipeline and sweep alike."""

import math
from collections.abc import Mapping, Sequence

from clinlm.report.results import ModelResult
from clinlm.tracking.base import Scalar

QUALITY = ("micro_f1", "macro_f1", "macro_auroc")
GATES = ("critical", "high", "medium", "low")
"""Gates that every comparison judges by, strictest first; see `clinlm.report.gates.known_gates`."""


def summary_columns(
    result: ModelResult | None, split: str, seconds: float | None = None, cached: bool | None = None
) -> dict[str, Scalar]:
    """Return the columns of a run, about thirty, the same names for every run; null for what was not measured.

    `final/` is on test, with the weights of the best epoch, and null while test stays closed; `validation/` is what a
    sweep may optimise. `final/delta_*` are against the model before compression, latency is from the text of a note to
    its decisions, `final/compression` is the factor in bytes. `gate/*` says which gates passed.

    Args:
        result: the model that the run is about; None for none.
        split: that its quality is of.
        seconds: of training, where they are not those of `result` alone.
        cached: whether nothing was built, where it is not about `result` alone.
    """
    own = result or ModelResult("", "stage", bytes=0, compression_bytes=math.nan)
    tested = own if split == "test" else ModelResult("", "stage")
    columns: dict[str, Scalar] = {}
    for metric in QUALITY:
        interval = tested.intervals.get(metric)
        columns[f"final/{metric}"] = known(tested.quality.get(metric))
        columns[f"final/{metric}_low"] = known(interval and interval.low)
        columns[f"final/{metric}_high"] = known(interval and interval.high)
    for metric in QUALITY:
        difference = tested.differences.get(metric)
        columns[f"final/delta_{metric}"] = known(difference and difference.value)
    columns["final/verdict"] = None if own.non_inferiority is None else own.non_inferiority.verdict
    columns["final/latency_p50_ms"] = known(own.p50_ms)
    columns["final/speedup"] = known(None if own.latency is None else own.latency.speedup)
    columns["final/bytes"] = own.bytes or None
    columns["final/compression"] = known(own.compression_bytes)
    columns |= {f"validation/{metric}": known(own.validation.get(metric)) for metric in QUALITY}
    columns |= gate_columns(own)
    columns["cached"] = own.cached if cached is None else cached
    columns["train_seconds"] = known(own.seconds if seconds is None else seconds)
    return columns


def gate_columns(result: ModelResult) -> dict[str, Scalar]:
    """Return by gate whether the model passed it; null where it was not judged, as before compression."""
    verdicts = {verdict.gate: verdict.passed for verdict in result.gates}
    return {f"gate/{gate}": verdicts.get(gate) for gate in dict.fromkeys([*GATES, *verdicts])}


def run_tags(result: ModelResult | None, kind: str, gate: str | None) -> tuple[str, ...]:
    """Return the families of methods that compressed a model, and the verdict of the gate of its run."""
    techniques = () if result is None else result.lineage.techniques
    verdicts: Mapping[str, bool] = {} if result is None else {own.gate: own.passed for own in result.gates}
    passed = [name for name, good in verdicts.items() if good]
    strictest = [f"passes {passed[0]}"] if passed else ["passes no gate"] * bool(verdicts)
    judged = verdicts.get(gate or "")
    own = [] if judged is None else [f"gate {gate}: {'passed' if judged else 'failed'}"]
    return tuple(dict.fromkeys([kind, *(name.replace("_", " ") for name in techniques), *(own or strictest)]))


def known(value: float | None) -> float | None:
    """Return a number, null where it is undefined."""
    return None if value is None or not math.isfinite(value) else float(value)


def total_seconds(results: Sequence[ModelResult]) -> float | None:
    """Return the seconds of training of several stages, each counted once; null if none is known."""
    found = {own.key: own.seconds for own in results if own.is_stage and math.isfinite(own.seconds)}
    return sum(found.values()) if found else None
