"""The comparison as files: Markdown, CSV and JSON."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import polars as pl

from clinlm.metrics.bootstrap import Interval
from clinlm.metrics.latency import Latency
from clinlm.pipeline.run_record import run_file
from clinlm.report import cells, timing
from clinlm.report.conclusion import conclusion_markdown
from clinlm.report.results import ModelResult, results_content
from clinlm.report.verdicts import verdict_cell
from clinlm.store.content import write_files

_PLAIN = {
    "parameters": pl.Int64,
    "nonzero": pl.Int64,
    "bytes": pl.Int64,
    "compression_parameters": pl.Float64,
    "compression_bytes": pl.Float64,
    "peak_mib": pl.Float64,
    "seconds": pl.Float64,
    "cached": pl.Boolean,
}
_VERDICT = {
    "verdict": pl.String,
    "verdict_margin": pl.Float64,
    "verdict_claimed": pl.Boolean,
    "verdict_caveat": pl.String,
    "dominated_by": pl.String,
}
_LATENCY = {
    own.name: pl.Int64 if own.name == "documents" else pl.Float64 for own in fields(Latency) if own.name != "hardware"
}
HEADER = (
    *("stage", "accuracy %", "micro F1 %", "macro F1 %", "macro AUROC %", "Δ micro F1", "verdict", "p50 ms"),
    *("network ms", "speed-up ×", "parameters M", "compression ×", "MB", "compression (bytes) ×", "training"),
    "dominated by",
)


def results_frame(results: Sequence[ModelResult]) -> pl.DataFrame:
    """Return a line for every result, all numbers at full precision, nothing nested.

    Columns: name, kind, key, role, engine; for every metric its value and `_low`, `_high`, `_delta`, `_delta_low`,
    `_delta_high`, `_delta_p`; parameters, nonzero, bytes, compression_parameters, compression_bytes, peak_mib, seconds,
    cached; `latency_` + each number of Latency; verdict ("" for none), verdict_margin, verdict_claimed
    (false: shown for information, uncorrected), verdict_caveat (what is wrong with the margin); dominated_by, joined by
    "; ".
    Null where a result lacks the number, NaN where it is undefined.
    """
    metrics = dict.fromkeys(name for result in results for name in result.quality)
    schema: dict[str, type[pl.DataType]] = dict.fromkeys(("name", "kind", "key", "role", "engine"), pl.String)
    for metric in metrics:
        schema |= {metric: pl.Float64} | {f"{metric}_{end}": pl.Float64 for end in ("low", "high", "delta")}
        schema |= {f"{metric}_delta_{end}": pl.Float64 for end in ("low", "high", "p")}
    schema |= _PLAIN | {f"latency_{name}": kind for name, kind in _LATENCY.items()} | _VERDICT
    return pl.DataFrame([_flat(result) for result in results], schema=schema, orient="row")


def _flat(result: ModelResult) -> dict[str, object]:
    names = ("name", "kind", "key", "role", "engine", *_PLAIN)
    flat: dict[str, object] = {name: getattr(result, name) for name in names} | result.quality
    for metric, interval in result.intervals.items():
        flat |= {f"{metric}_low": interval.low, f"{metric}_high": interval.high}
    for metric, change in result.differences.items():
        flat |= {f"{metric}_delta": change.value, f"{metric}_delta_low": change.low}
        flat |= {f"{metric}_delta_high": change.high, f"{metric}_delta_p": change.p}
    if result.latency is not None:
        flat |= {f"latency_{name}": getattr(result.latency, name) for name in _LATENCY}
    judged = result.non_inferiority
    flat |= {"dominated_by": "; ".join(result.dominated_by), "verdict": "", "verdict_caveat": ""}
    if judged is not None:
        flat |= {"verdict": judged.verdict, "verdict_margin": judged.margin}
        flat |= {"verdict_claimed": judged.claimed, "verdict_caveat": judged.caveat}
    return flat


def results_markdown(results: Sequence[ModelResult]) -> str:
    """Return a Markdown table, a line for every result, intervals in brackets."""
    return cells.grid(HEADER, [result_cells(result) for result in results])


def result_cells(result: ModelResult) -> list[str]:
    """Return the cells of a result below `HEADER`."""
    latency = result.latency
    shares = [
        share(result.quality.get(name), result.intervals.get(name)) for name in ("micro_f1", "macro_f1", "macro_auroc")
    ]
    spread = ""
    if latency is not None and latency.speedup_low != latency.speedup_high:
        spread = cells.three_range(latency.speedup_low, latency.speedup_high)
    return [
        result.name,
        cells.percent(result.quality.get("accuracy")),
        *shares,
        change(result.differences.get("micro_f1")),
        verdict_cell(result) or cells.NONE,
        timing.p50_cell(latency),
        timing.network_cell(latency),
        bracketed(timing.speedup_cell(latency), spread),
        cells.three(result.parameters / 1e6),
        cells.times(result.compression_parameters),
        cells.three(result.bytes / 1e6),
        cells.times(result.compression_bytes),
        f"{cells.three(result.seconds)} s" + (", cached" if result.cached else ""),
        dominated(result.dominated_by),
    ]


def dominated(names: Sequence[str]) -> str:
    """Return the first of the rows that dominate, and how many others do: TF-IDF int8 +2."""
    return f"{names[0]}{f' +{len(names) - 1}' * (len(names) > 1)}" if names else cells.NONE


def share(value: float | None, interval: Interval | None) -> str:
    """Return a share as per cent with its interval: 57.16 (53.1–60.9)."""
    return bracketed(cells.percent(value), cells.percent_range(interval.low, interval.high) if interval else "")


def change(difference: Interval | None) -> str:
    """Return a difference in points with its interval, a star where that excludes 0: -1.24* (-2.1…-0.3)."""
    if difference is None:
        return cells.NONE
    value = cells.points(difference.value) + "*" * difference.significant
    return bracketed(value, cells.points_range(difference.low, difference.high))


def bracketed(value: str, interval: str) -> str:
    """Return a value, and its interval in brackets where it has one."""
    return f"{value} ({interval})" if interval else value


def write_results(
    results: Sequence[ModelResult],
    folder: Path,
    name: str,
    notices: Sequence[str] = (),
    conclusion: Sequence[str] = (),
    subject: str = "",
) -> list[Path]:
    """Write <name>.json, .csv and .md and, where results have labels, <name>_per_label.csv, each replaced atomically.

    Args:
        folder: is made if needed.
        name: of the files, without ending.
        notices: counted warnings; written below the Markdown table.
        conclusion: sentences; written above it.
        subject: name of the result that the comparison is about.

    Returns:
        the paths.
    """
    contents = {
        f"{name}.json": run_file(f"{name}.json", results_content(results, notices, conclusion, subject)),
        f"{name}.csv": results_frame(results).write_csv(),
        f"{name}.md": conclusion_markdown(conclusion)
        + results_markdown(results)
        + "".join(f"\n- {notice}" for notice in notices)
        + "\n" * bool(notices),
    }
    tables = [result.label_frame() for result in results if result.per_label]
    if tables:
        contents[f"{name}_per_label.csv"] = pl.concat(tables, how="vertical_relaxed").write_csv()
    folder.mkdir(parents=True, exist_ok=True)
    return write_files(folder, contents)
