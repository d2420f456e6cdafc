"""How the models came about: the stages of each pipeline with what they cost and gained, and what methods changed."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from clinlm.metrics.bootstrap import Interval
from clinlm.pipeline.gates import spell_out
from clinlm.pipeline.run_record import RunRecord, StageRecord
from clinlm.report import cells
from clinlm.report.grid import grid_cells
from clinlm.report.html.models_table import Cell, bar_of
from clinlm.report.html.section import Chain, Grid, Link, Part, Prose, Section
from clinlm.report.html.sources import CHAINS, Sources
from clinlm.report.html.words import signed

_BEFORE, _AFTER = "_before", "_after"
_EPOCH = {"monitor", "epoch", "value"}


def grid_section(sources: Sources) -> Section | None:
    """Return pipelines × methods; None unless several pipelines meet several combinations."""
    found = grid_cells(sources.results, sources.metric) if sources.written.is_sweep else None
    if found is None:
        return None
    header, lines = found
    rows = [[Cell(cell) for cell in line] for line in lines]
    quality = f"{cells.spelled(sources.metric)} on {sources.split}"
    note = f"{quality} with its 95 % interval, or ± its deviation over seeds; size and median time below it."
    grid = Grid("", header, rows, note, frozenset(range(2, len(header))))
    return Section("grid", "Pipelines × methods", "Pipelines × methods", [grid])


def lineage_section(sources: Sources) -> Section | None:
    """Return the stages of every pipeline drawn; None where the folder has no record of a run."""
    chains: list[Part] = [_chain(sources, run, place) for run, place in sources.chains()]
    quality = f"{cells.spelled(sources.metric)} on {sources.split}"
    if not chains:
        return None
    left = len(sources.runs) - len(chains)
    chains.append(Prose(f"In every box {quality}, its change from the stage before by value, and what the stage cost."))
    if left > 0:
        chains.append(
            Prose(
                f"{left} more pipelines are in the folders of their jobs; drawn are {CHAINS}, that of the answer first."
            )
        )
    return Section("lineage", "Lineage", "How each model came about: what a stage cost and gained", chains)


def _chain(sources: Sources, run: RunRecord, place: Path) -> Chain:
    rows = sources.stage_rows(place)
    links, before = [], math.nan
    for stage in run.stages:
        report, row = sources.reports[stage.folder], rows.get(stage.name, {})
        value = (row.get("quality") or {}).get(sources.metric)
        value = math.nan if value is None else value
        links.append(_link(stage, report, value, before, sources.metric))
        before = value
    ends = {own.lineage.folder: own.name for own in sources.results if own.is_stage}
    name = ends.get(run.stages[-1].folder, f"{run.pipeline}, seed {run.seed}")
    return Chain(name if sources.written.is_sweep else run.pipeline, links)


def _link(stage: StageRecord, report: Mapping[str, Any], value: float, before: float, metric: str) -> Link:
    gain = value - before
    seconds, size = report.get("seconds"), report.get("bytes")
    costs = []
    if seconds is not None:
        costs.append(f"{cells.three(seconds)} s{', reused' if stage.cached else ''}")
    if size is not None:
        costs.append(f"{cells.three(size / 1e6)} MB")
    if report.get("parameters"):
        costs.append(f"{cells.three(report['parameters'] / 1e6)} M parameters")
    return Link(
        stage.name,
        " · ".join(spell_out(own) for own in stage.techniques) or stage.role,
        "" if math.isnan(value) else f"{cells.percent(value)} %",
        "" if math.isnan(gain) else signed(gain),
        "" if math.isnan(gain) or abs(gain) < 5e-5 else "good" if gain > 0 else "bad",
        costs,
        ", ".join(stage.teachers),
    )


def layers_section(sources: Sources) -> Section | None:
    """Return what methods changed in the layers of the subject's pipeline: widths, ranks, bits, before and after."""
    if sources.run is None:
        return None
    reports = {stage.name: sources.reports[stage.folder] for stage in sources.run.stages}
    parts: list[Part] = [part for stage, report in reports.items() for part in _methods(stage, report)]
    best = _best_epochs(reports)
    title = f"What each method did: pipeline {sources.run.pipeline}"
    return Section("layers", "Layers", title, [*parts, *best]) if parts or best else None


def _tables(reports: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str, str, list[dict[str, Any]]]]:
    """Yield stage, method, its summary, and the rows of each of its tables."""
    for stage, report in reports.items():
        for name, method in report.get("methods", {}).items():
            for table in method["tables"]:
                if table["rows"]:
                    yield stage, name, str(method["summary"] or ""), table["rows"]


def _methods(stage: str, report: Mapping[str, Any]) -> Iterator[Grid]:
    for _, name, summary, rows in _tables({stage: report}):
        if _EPOCH <= rows[0].keys():
            continue
        if [row.get("when") for row in rows] == ["before", "after"]:
            yield _recovery(f"{stage}: {name}", *rows)
            continue
        columns = [*dict.fromkeys(column for row in rows for column in row)]
        yield _rows_grid(f"{stage}: {name}", columns, rows, summary)


def _recovery(title: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Grid:
    """Return quality on validation before and after recovery, a line for every metric."""
    metrics = [name for name in before if name != "when"]
    rows = [
        [Cell(cells.spelled(name)), *(Cell(cells.percent(own.get(name))) for own in (before, after))]
        for name in metrics
    ]
    header = ["metric on validation, %", "before", "after"]
    return Grid(f"{title}: before and after", header, rows, "", frozenset({1, 2}), folded=True)


def _best_epochs(reports: Mapping[str, Mapping[str, Any]]) -> list[Grid]:
    found = [(stage, row) for stage, _, _, rows in _tables(reports) for row in rows if _EPOCH <= row.keys()]
    if not found:
        return []
    rows = [[Cell(stage), *(Cell(_shown(row[name])) for name in ("monitor", "epoch", "value"))] for stage, row in found]
    return [Grid("Epoch that was kept", ["stage", "monitor", "epoch", "value"], rows, "", frozenset({2, 3}))]


def _rows_grid(title: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]], summary: str) -> Grid:
    """Return the rows of a method's report; a pair of columns before and after is one column with a bar."""
    ordered = sorted(columns, key=lambda name: not isinstance(rows[0].get(name), str))  # names first
    ordered = [
        name for name in ordered if not (name.endswith(_AFTER) and name.removesuffix(_AFTER) + _BEFORE in columns)
    ]
    most = {name: max((_number(row.get(name)) for row in rows), default=0.0) for name in ordered}
    lines = []
    for row in rows:
        lines.append([_method_cell(name, row, most[name]) for name in ordered])
    header = [name.removesuffix(_BEFORE).replace("_", " ") for name in ordered]
    numbers = frozenset(n for n, name in enumerate(ordered) if n and not isinstance(rows[0].get(name), str))
    return Grid(title, header, lines, summary, numbers, folded=len(rows) > 16)


def _method_cell(name: str, row: Mapping[str, Any], most: float) -> Cell:
    value = row.get(name)
    after = row.get(name.removesuffix(_BEFORE) + _AFTER) if name.endswith(_BEFORE) else None
    if after is None or not most:
        return Cell(_shown(value))
    ends = (0.0, most)
    kept = Interval(0.0, 0.0, float(after))
    return Cell(f"{_shown(value)} → {_shown(after)}", bar=bar_of(kept, float(after), ends))


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return cells.NONE
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
