"""Quality by label and by subgroup, and its change against the original, with intervals."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from clinlm.metrics.bootstrap import Interval
from clinlm.report import cells
from clinlm.report.html.models_table import Cell, bar_of, scale_ends
from clinlm.report.html.section import Grid, Part, Prose, Section
from clinlm.report.html.sources import Sources
from clinlm.report.html.words import signed, signed_range
from clinlm.report.label_differences import LABEL_DIFFERENCES
from clinlm.report.results import ModelResult, decode_interval


def labels_section(sources: Sources) -> Section | None:
    """Return quality by label and subgroup; None where there is none."""
    models = [own for own in sources.detailed() if own.per_label]
    parts: list[Part] = []
    if models:
        content = sources.file(LABEL_DIFFERENCES, sources.written.folder) or {"models": {}}
        found = {name: {k: decode_interval(v) for k, v in own.items()} for name, own in content["models"].items()}
        parts.append(_labels(models, found))
        left = sum(bool(own.per_label) for own in sources.results) - len(models)
        if left > 0:
            parts.append(Prose(f"{left} more models are in table_per_label.csv."))
    validation = sources.validation
    if validation is not None:
        parts += _subgroups(validation)
    return (
        Section("labels", "Labels and subgroups", "Labels and subgroups: where quality changed", parts)
        if parts
        else None
    )


def _labels(models: Sequence[ModelResult], found: Mapping[str, Mapping[str, Interval]]) -> Grid:
    ends = scale_ends([change for own in found.values() for change in own.values()])
    rows = []
    for number, row in enumerate(models[0].per_label):
        label = str(row["label"])
        support = row.get("support")
        line = [Cell(label, f"{support:,} with it" if isinstance(support, int) else "")]
        for own in models:
            line.append(_label_cell(own.per_label[number], found.get(own.name, {}).get(label), ends))
        rows.append(line)
    note = (
        "F1 in per cent; below it its change against the original in points, with a paired 95 % interval drawn around "
        "the line of 0. Of so many intervals, one in twenty excludes 0 by chance."
    )  # fmt: skip
    return Grid(
        "F1 by label", ["label", *(own.name for own in models)], rows, note, frozenset(range(1, len(models) + 1))
    )


def _label_cell(row: Mapping[str, Any], change: Interval | None, ends: tuple[float, float]) -> Cell:
    value = cells.percent(row.get("f1"))
    if change is None or math.isnan(change.value):
        return Cell(value)
    tone = "" if not change.significant else "good" if change.value > 0 else "bad"
    below = f"{signed(change.value)} ({signed_range(change)})"
    return Cell(value, below, bar=bar_of(change, change.value, ends, zero=True, tone=tone))


def _subgroups(validation: Mapping[str, Any]) -> list[Part]:
    """Return the subgroups of every attribute, original and compressed."""
    parts: list[Part] = []
    for name, own in validation["fairness"].items():
        groups = own["subgroups"]
        known = [decode_interval(group[model]) for group in groups for model in ("original", "compressed")]
        ends = scale_ends(known)
        rows = [_subgroup(group, ends) for group in groups]
        change = decode_interval(own["difference"])
        gap = f" Gap between the best and the worst by compression: {signed(change.value)} ({signed_range(change)})."
        gap = "" if math.isnan(change.value) else gap
        metric = cells.spelled(own["metric"])
        note = f"{metric} with its 95 % interval.{gap} Groups that are small are shown, and no gap counts them."
        header = ["group", "documents", validation["original"], validation["compressed"]]
        parts.append(Grid(f"By {name.replace('_', ' ')}", header, rows, note, frozenset({1, 2, 3})))
    if not parts:
        parts.append(Prose("The corpus has no attributes to compare subgroups by."))
    return parts


def _subgroup(group: Mapping[str, Any], ends: tuple[float, float]) -> list[Cell]:
    line = [
        Cell(str(group["name"]), "" if group["standing"] == "counted" else str(group["standing"])),
        Cell(f"{group['documents']:,}"),
    ]
    for model in ("original", "compressed"):
        own = decode_interval(group[model])
        line.append(
            Cell(cells.percent(own.value), cells.percent_range(own.low, own.high), bar=bar_of(own, own.value, ends))
        )
    return line
