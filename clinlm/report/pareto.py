"""The models that no other beats in everything: quality against bytes and latency, as a table, a file and a plot."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from clinlm.report import cells, timing
from clinlm.report.pareto_front import numbered, pareto_objectives
from clinlm.report.pareto_plot import plot_pareto
from clinlm.report.plots import save_figure
from clinlm.report.results import ModelResult
from clinlm.report.tables import dominated


def command(result: ModelResult) -> str:
    """Return what to type to make a model again."""
    return (
        "# every run fits it: the folder is that of the line tfidf"
        if result.kind == "baseline"
        else shlex.join(["clinlm", *result.lineage.overrides])
    )


def pareto_markdown(results: Sequence[ModelResult], metric: str, split: str = "test") -> str:
    """Return the front as a Markdown table, best quality first, and the command for each of its models.

    Args:
        metric: of quality: on validation it chooses, on test it is only shown.
        split: that `quality` of the results is of; where it is validation, there is no column of test.
    """
    numbers = numbered(results, metric)
    spelled, verb = cells.spelled(metric), "is" if len(numbers) == 1 else "are"
    shown = [f"{spelled} % (test)"] * (split == "test")
    header = ("#", "model", f"{spelled} % (validation)", "MB", "p50 ms", *shown, f"95 % ({split})", "dominated by")
    rows = [_cells(number, results[place], metric, split) for place, number in numbers.items()]
    title = (
        f"{len(numbers)} of {len(results)} models {verb} on the Pareto front of {spelled} on validation, bytes and "
        f"latency. Dominated by: a row as good in bytes, latency, micro F1, macro F1 and macro AUROC on {split}, "
        "better in one."
    )
    commands = "".join(f"# {number}\n{command(results[place])}\n" for place, number in numbers.items())
    return f"{title}\n\n{cells.grid(header, rows)}\n```sh\n{commands}```\n"


def _cells(number: int, result: ModelResult, metric: str, split: str) -> list[str]:
    interval = result.intervals.get(metric)
    spread = cells.NONE if interval is None else cells.percent_range(interval.low, interval.high)
    quality = (cells.percent(own.get(metric)) for own in (result.validation, result.quality))
    costs = (cells.three(result.bytes / 1e6), timing.p50_cell(result.latency))
    validation, test = quality
    ending = [spread, dominated(result.dominated_by)]
    return [str(number), result.name, validation, *costs, *[test] * (split == "test"), *ending]


def pareto_frame(results: Sequence[ModelResult], metric: str, split: str = "test") -> pl.DataFrame:
    """Return a line for every model, in the order given, with its number on the front (null if it is off).

    Args:
        split: see `pareto_markdown`.
    """
    numbers = numbered(results, metric)
    lines: list[Mapping[str, Any]] = []
    for place, (result, values) in enumerate(zip(results, pareto_objectives(results, metric).tolist(), strict=True)):
        interval = result.intervals.get(metric)
        lines.append(
            {"front": numbers.get(place), "name": result.name}
            | dict(zip(("quality", "bytes", "latency_ms"), values, strict=True))
            | {"test_quality": result.quality.get(metric)}
            | {f"test_{end}": interval and getattr(interval, end) for end in ("low", "high")}
            | {"dominated_by": "; ".join(result.dominated_by), "command": command(result)}
        )
    schema: dict[str, type[pl.DataType]] = {"front": pl.Int64, "name": pl.String}
    schema |= dict.fromkeys(("quality", "bytes", "latency_ms", "test_quality", "test_low", "test_high"), pl.Float64)
    found = pl.DataFrame(lines, schema=schema | dict.fromkeys(("dominated_by", "command"), pl.String))
    return found if split == "test" else found.drop("test_quality", "test_low", "test_high")


def write_pareto(results: Sequence[ModelResult], metric: str, folder: Path, split: str = "test") -> list[Path]:
    """Write pareto.md, .csv, .svg and .png into `folder`, and return their paths; `split` as in `pareto_markdown`."""
    paths = [folder / f"pareto.{ending}" for ending in ("md", "csv")]
    paths[0].write_text(pareto_markdown(results, metric, split), encoding="utf-8")
    pareto_frame(results, metric, split).write_csv(paths[1])
    return [*paths, *save_figure(plot_pareto(results, metric, split), folder, "pareto")]
