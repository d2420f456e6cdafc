"""Pipelines × methods: quality, size and latency of the last model of every job of a sweep over both."""

from collections import defaultdict
from collections.abc import Sequence

from clinlm.report import cells, timing
from clinlm.report.cells import spelled
from clinlm.report.published import mean_over_seeds
from clinlm.report.results import ModelResult
from clinlm.report.tables import share

AS_IT_IS = "as it is"
"""The combination without any other setting."""
Cells = tuple[list[str], list[list[str]]]
"""Header and lines of a table."""


def grid_cells(results: Sequence[ModelResult], metric: str) -> Cells | None:
    """Return a table with three lines a pipeline, a column for every combination of the other settings that differ.

    Quality has its interval, or the standard deviation over seeds where there are several. "–" stands where no job had
    the combination: a job is named by the settings that it reads.

    Args:
        metric: of quality, on test.

    Returns:
        the cells; None unless several pipelines meet several combinations.
    """
    found = grid_models(results)
    if found is None:
        return None
    rows, columns, models = found
    lines = []
    for row in rows:
        own = [models.get((row, column)) for column in columns]
        lines.append([row, f"{spelled(metric)} %", *(_quality(model, metric) for model in own)])
        lines.append(["", "MB", *(cells.three(model.bytes / 1e6 if model else None) for model in own)])
        lines.append(["", "p50 ms", *(timing.p50_cell(model.latency if model else None) for model in own)])
    return ["pipeline", "", *(column or AS_IT_IS for column in columns)], lines


def grid_models(
    results: Sequence[ModelResult],
) -> tuple[list[str], list[str], dict[tuple[str, str], ModelResult]] | None:
    """Return pipelines, combinations of the other settings, and the model of both: a mean over seeds.

    None unless several pipelines meet several combinations.
    """
    by_place: dict[tuple[str, str], list[ModelResult]] = defaultdict(list)
    for result in results:
        name, pipeline = result.group, result.lineage.pipeline
        if result.kind == "stage" and f"{name} ".startswith(f"{pipeline} "):  # a teacher has a name of its own
            row = f"{pipeline} @{result.engine}" if result.deployment else pipeline
            by_place[row, name.removeprefix(pipeline).strip()].append(result)
    rows, columns = (list(dict.fromkeys(place[axis] for place in by_place)) for axis in (0, 1))
    if len({row.partition(" @")[0] for row in rows}) < 2 or len(columns) < 2:
        return None
    return rows, columns, {place: mean_over_seeds(seeds) for place, seeds in by_place.items()}


def _quality(model: ModelResult | None, metric: str) -> str:
    if model is None:
        return cells.NONE
    if metric in model.deviations:
        return f"{cells.percent(model.quality.get(metric))} ± {cells.percent(model.deviations[metric])}"
    return share(model.quality.get(metric), model.intervals.get(metric))
