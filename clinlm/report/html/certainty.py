"""Calibration, abstention and sets of possible labels: whether a model knows when it is wrong."""

from collections.abc import Mapping
from typing import Any

from clinlm.metrics.uncertainty import SHARES
from clinlm.report import cells
from clinlm.report.html.lines import STYLES, LineChart, Series, line_chart
from clinlm.report.html.models_table import Cell
from clinlm.report.html.section import Charts, Grid, Part, Section
from clinlm.report.html.sources import Sources
from clinlm.report.results import ModelResult, decode_interval


def certainty_section(sources: Sources) -> Section | None:
    """Return reliability, risk and coverage; None where nothing was measured."""
    measured = [own for own in sources.detailed() if own.uncertainty is not None][:STYLES]
    validation = sources.validation
    charts = [*_reliability(validation), *_risk(measured), *_coverage(measured)]
    parts: list[Part] = [Charts(charts)] if charts else []
    if validation is not None:
        parts.append(_errors(validation))
    return Section("certainty", "Calibration", "Calibration, and what abstaining gains", parts) if parts else None


def _reliability(validation: Mapping[str, Any] | None) -> list[LineChart]:
    if validation is None:
        return []
    series = []
    for name, own in validation["calibration"].items():
        bins = [one for one in own["curve"] if one["count"]]
        found = [decode_interval(one["frequency"]) for one in bins]
        points = [(100 * one["confidence"], 100 * each.value) for one, each in zip(bins, found, strict=True)]
        series.append(Series(name, points, [(100 * each.low, 100 * each.high) for each in found]))
    return [line_chart("measured frequency, %", "stated probability, %", series, diagonal=True)]


def _risk(models: list[ModelResult]) -> list[LineChart]:
    series = [
        Series(
            own.name, [(100 * share, 100 * risk) for share, risk in zip(SHARES, own.uncertainty.curve, strict=False)]
        )
        for own in models
        if own.uncertainty is not None
    ]
    return (
        [line_chart("notes with a wrong answer, %", "notes answered, % (most confident first)", series)]
        if series
        else []
    )


def _coverage(models: list[ModelResult]) -> list[LineChart]:
    series = []
    for place, own in enumerate(models):
        assert own.uncertainty is not None
        beside = 0.35 * (place - (len(models) - 1) / 2)  # so that intervals are seen next to each other
        levels = own.uncertainty.levels
        points = [(100 * level.coverage + beside, 100 * level.sets.value) for level in levels]
        series.append(Series(own.name, points, [(100 * level.sets.low, 100 * level.sets.high) for level in levels]))
    return (
        [line_chart("true labels in the sets, %", "nominal coverage of the sets, %", series, diagonal=True)]
        if series
        else []
    )


def _errors(validation: Mapping[str, Any]) -> Grid:
    rows = []
    for name, own in validation["calibration"].items():
        ece, brier = decode_interval(own["ece"]), decode_interval(own["brier"])
        heat = validation["temperatures"].get(name)
        rows.append([
            Cell(name),
            Cell(cells.percent(ece.value), cells.percent_range(ece.low, ece.high)),
            Cell(cells.percent(own["chance"])),
            Cell(f"{brier.value:.4f}", f"{brier.low:.4f}–{brier.high:.4f}"),
            Cell(cells.two(heat)),
        ])  # fmt: skip
    note = "ECE of 15 equal bins with its 95 % interval, and what noise alone gives; temperatures are of validation."
    header = ["model", "ECE %", "by noise alone", "Brier", "temperature"]
    return Grid("Calibration errors", header, rows, note, frozenset({1, 2, 3, 4}))
