"""The tables of a report as a dashboard takes them: numbers and names, never a word of a note, no document's number."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from clinlm.metrics.bootstrap import Interval
from clinlm.pipeline.run_record import RunRecord
from clinlm.report.gates import device_fits
from clinlm.report.grid import AS_IT_IS, grid_models
from clinlm.report.pareto import pareto_frame
from clinlm.report.published import PUBLISHED
from clinlm.report.results import ModelResult
from clinlm.report.tables import results_frame
from clinlm.report.written import read_json

_FILES = ("epochs", "uncertainty", "resplits")
"""CSV files of a report that are sent as they are, where they were written."""


def report_tables(
    results: Sequence[ModelResult], run: RunRecord, folder: Path, validation: Mapping[str, Any] | None
) -> dict[str, pl.DataFrame]:
    """Return the tables of a report by name; those without a row are left out.

    Args:
        run: whose settings the report has.
        folder: of the report.
        validation: contents of its validation.json.
    """
    metric = run.monitor.removeprefix("val/")
    timed = [result for result in results if result.latency is not None]
    labels = [result.label_frame() for result in results if result.per_label]
    found = {
        "results": results_frame(results),
        "labels": pl.concat(labels, how="diagonal_relaxed") if labels else pl.DataFrame(),
        "gates": gate_frame(results),
        "devices": device_frame(results, run.device),
        "pareto": pareto_frame(timed, metric, run.split) if len(timed) > 2 else pl.DataFrame(),
        "grid": _grid(results, metric),
        "lineage": lineage_frame(results),
        "published": published_frame(read_json(folder / PUBLISHED)),
        **validation_tables(validation or {}),
    }
    for name in _FILES:
        if (path := folder / f"{name}.csv").is_file():
            found[name] = pl.read_csv(path, infer_schema_length=None)
    return {name: table for name, table in found.items() if len(table)}


def gate_frame(results: Sequence[ModelResult]) -> pl.DataFrame:
    """Return a line for every model, gate and limit: measured value with its interval, limit, verdict and reason."""
    rows = []
    for result in results:
        for verdict in result.gates:
            common = {"name": result.name, "gate": verdict.gate, "passed": verdict.passed, "reason": verdict.reasons()}
            for finding in verdict.findings:
                own = {"quantity": finding.quantity, **_ends(finding.change), "limit": finding.limit}
                rows.append(common | own | {"kept": finding.passed})
    return pl.DataFrame(rows, infer_schema_length=None)


def device_frame(results: Sequence[ModelResult], devices: Mapping[str, Any]) -> pl.DataFrame:
    """Return a line for every model and device: whether it fits, and why."""
    rows = [
        {"name": result.name, "device": device.name, "fits": fit.fits, "reason": fit.line()}
        for result in results
        if result.bytes
        for device, fit in device_fits(devices, result)
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def published_frame(content: Mapping[str, Any] | None) -> pl.DataFrame:
    """Return the cells of a published table with ours, from published.json; empty without it."""
    if content is None:
        return pl.DataFrame()
    header = [name.replace("\n", " ") or "numbers" for name in content["header"]]
    return pl.DataFrame(content["lines"], schema=header, orient="row")


def lineage_frame(results: Sequence[ModelResult]) -> pl.DataFrame:
    """Return a line for every stage: what it began with, learned from, cost and gained."""
    rows = [
        {
            "name": result.name,
            "key": result.key,
            "pipeline": result.lineage.pipeline,
            "start": result.lineage.parent,
            "teachers": ", ".join(result.lineage.teachers),
            "techniques": ", ".join(result.lineage.techniques),
            "seconds": result.seconds,
            "bytes": result.bytes,
            "cached": result.cached,
        }
        for result in results
        if result.kind == "stage"
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def validation_tables(validation: Mapping[str, Any]) -> dict[str, pl.DataFrame]:
    """Return calibration curves, subgroups and the patterns of disagreement of a validation.json."""
    curves = [
        {"model": model, "confidence": own["confidence"], "count": own["count"]} | _ends(own["frequency"])
        for model, calibration in validation.get("calibration", {}).items()
        for own in calibration["curve"]
    ]
    groups = [
        {"attribute": attribute} | _numbers(own)
        for attribute, found in validation.get("fairness", {}).items()
        for own in found["subgroups"]
    ]
    found = {"calibration": curves, "subgroups": groups, "disagreements": validation.get("patterns", [])}
    return {name: pl.DataFrame(rows, infer_schema_length=None) for name, rows in found.items()}


def _ends(interval: Interval | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(interval, Interval):
        return {"value": interval.value, "low": interval.low, "high": interval.high}
    return {name: interval.get(name) for name in ("value", "low", "high")}


def _numbers(node: Mapping[str, Any], name: str = "") -> dict[str, Any]:
    """Return the numbers and words in nested mappings by their path."""
    found: dict[str, Any] = {}
    for key, own in node.items():
        path = f"{name}_{key}" if name else str(key)
        if isinstance(own, Mapping):
            found |= _numbers(own, path)
        elif isinstance(own, int | float | str | bool) or own is None:
            found[path] = own
    return found


def _grid(results: Sequence[ModelResult], metric: str) -> pl.DataFrame:
    """Return pipelines × methods as numbers: a line for every cell."""
    if grid_models(results) is None:
        return pl.DataFrame()
    rows = []
    for result in results:
        pipeline = result.lineage.pipeline
        if result.kind == "stage" and f"{result.group} ".startswith(f"{pipeline} "):
            methods = result.group.removeprefix(pipeline).strip() or AS_IT_IS
            own: dict[str, Any] = {"pipeline": pipeline, "methods": methods, "engine": result.engine}
            rows.append(own | {metric: result.quality.get(metric), "bytes": result.bytes})
    return pl.DataFrame(rows, infer_schema_length=None)
