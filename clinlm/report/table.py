"""The comparison table of a run: for the terminal, as Markdown, CSV and JSON."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path

import polars as pl
from rich import box
from rich.table import Table
from rich.text import Text

from clinlm.metrics.bootstrap import Interval
from clinlm.metrics.latency import Latency
from clinlm.report import cells
from clinlm.report.row import Row

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
_LATENCY = {each.name: pl.Int64 if each.name == "documents" else pl.Float64 for each in fields(Latency)}


def frame(rows: Sequence[Row]) -> pl.DataFrame:
    """One line per row, all numbers at full precision, nothing nested.

    Columns: name, kind, key, role, engine; for every metric its value and `_low`, `_high`, `_delta`, `_delta_low`,
    `_delta_high`, `_delta_p`; parameters, nonzero, bytes, compression_parameters, compression_bytes, peak_mib, seconds,
    cached; `latency_` + each field of Latency. Null where a row lacks the number, NaN where it is undefined.
    """
    metrics = dict.fromkeys(name for row in rows for name in row.quality)
    schema: dict[str, type[pl.DataType]] = dict.fromkeys(("name", "kind", "key", "role", "engine"), pl.String)
    for metric in metrics:
        schema |= {metric: pl.Float64} | {f"{metric}_{end}": pl.Float64 for end in ("low", "high", "delta")}
        schema |= {f"{metric}_delta_{end}": pl.Float64 for end in ("low", "high", "p")}
    schema |= _PLAIN | {f"latency_{name}": kind for name, kind in _LATENCY.items()}
    return pl.DataFrame([_flat(row) for row in rows], schema=schema, orient="row")


def render(rows: Sequence[Row], title: str) -> Table:
    """The table for a terminal of 80 columns or more: two lines per row, the second holds intervals and ratios.

    Args:
        rows: in the order to print; the one without differences is the reference of Δ, compression and speed-up.
        title: printed above.
    """
    caption = (
        f"below: 95 % bootstrap intervals, * excludes 0; Δ (points) and × against {_reference(rows)}; MB = 10⁶ bytes"
    )
    table = Table(
        title=Text(title), caption=Text(caption), box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0
    )
    headers = (
        "stage\ntraining",
        "acc.\n%",
        "micro F1\n%",
        "macro F1\n%",
        "Δ micro\nF1",
        "p50\nms",
        "speed-up\n×",
        "param.\nM, ×",
        "size\nMB, ×",
    )
    for place, header in enumerate(headers):
        table.add_column(header, justify="right" if place else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text.assemble(first, "\n", (second, "dim")) for first, second in _pairs(row)))
    return table


def markdown(rows: Sequence[Row]) -> str:
    """The same as a Markdown table, one line per row, intervals in brackets."""
    header = [
        "stage",
        "accuracy %",
        "micro F1 %",
        "macro F1 %",
        "Δ micro F1",
        "p50 ms",
        "speed-up ×",
        "parameters M",
        "compression ×",
        "MB",
        "compression (bytes) ×",
        "training",
    ]
    lines = []
    for row in rows:
        (name, training), *middle, (parameters, fewer), (size, smaller) = _pairs(row)
        shown = [f"{first} ({second})" if second else first for first, second in middle]
        lines.append([name, *shown, parameters, fewer, size, smaller, training])
    return cells.grid(header, lines)


def write(
    rows: Sequence[Row],
    folder: Path,
    name: str,
    per_label: Mapping[str, pl.DataFrame] | None = None,
    notices: Sequence[str] = (),
) -> tuple[Path, Path, Path]:
    """Write <name>.json, .csv, .md and, with per-label tables, <name>_per_label.csv, each replaced atomically.

    Args:
        rows: of the table.
        folder: is made if needed.
        name: of the files, without ending.
        per_label: row name -> its per-label table; into the JSON, and as CSV with the row's name as first column.
        notices: counted warnings; into the JSON and below the Markdown table.

    Returns:
        the paths of the first three.

    Raises:
        ValueError: a per-label table names no row.
    """
    unknown = sorted(set(per_label or {}) - {row.name for row in rows})
    if unknown:
        raise ValueError(f"a per-label table belongs to a row; {', '.join(unknown)} are none of the rows")
    whole = {
        "rows": [asdict(row) for row in rows],
        "per_label": {key: each.to_dicts() for key, each in (per_label or {}).items()},
        "notices": list(notices),
    }
    contents = {
        "json": json.dumps(_finite(whole), indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        "csv": frame(rows).write_csv(),
        "md": markdown(rows) + "".join(f"\n- {notice}" for notice in notices) + ("\n" if notices else ""),
    }
    folder.mkdir(parents=True, exist_ok=True)
    files = {f"{name}.{ending}": content for ending, content in contents.items()}
    if per_label:
        named = [each.select(pl.lit(key).alias("name"), pl.all()) for key, each in per_label.items()]
        files[f"{name}_per_label.csv"] = pl.concat(named).write_csv()
    for file, content in files.items():
        partial = folder / f".{file}.{os.getpid()}.partial"
        partial.write_text(content, encoding="utf-8")
        partial.replace(folder / file)
    return folder / f"{name}.json", folder / f"{name}.csv", folder / f"{name}.md"


def _flat(row: Row) -> dict[str, object]:
    flat: dict[str, object] = {name: getattr(row, name) for name in ("name", "kind", "key", "role", "engine", *_PLAIN)}
    flat |= row.quality
    for metric, interval in row.intervals.items():
        flat |= {f"{metric}_low": interval.low, f"{metric}_high": interval.high}
    for metric, change in row.differences.items():
        flat |= {f"{metric}_delta": change.value, f"{metric}_delta_low": change.low}
        flat |= {f"{metric}_delta_high": change.high, f"{metric}_delta_p": change.p}
    if row.latency is not None:
        flat |= {f"latency_{name}": getattr(row.latency, name) for name in _LATENCY}
    return flat


def _pairs(row: Row) -> list[tuple[str, str]]:
    """Every cell's two lines."""
    change, latency = row.differences.get("micro_f1"), row.latency
    return [
        (row.name, f"{cells.three(row.seconds)} s" + (", cached" if row.cached else "")),
        (cells.percent(row.quality.get("accuracy")), ""),
        _share(row.quality.get("micro_f1"), row.intervals.get("micro_f1")),
        _share(row.quality.get("macro_f1"), row.intervals.get("macro_f1")),
        _change(change),
        (cells.three(latency.p50_ms if latency else None), ""),
        (
            cells.three(latency.speedup if latency else None),
            _spread(latency),
        ),
        (cells.three(row.parameters / 1e6), cells.times(row.compression_parameters)),
        (cells.three(row.bytes / 1e6), cells.times(row.compression_bytes)),
    ]


def _share(value: float | None, interval: Interval | None) -> tuple[str, str]:
    return cells.percent(value), cells.percent_range(interval.low, interval.high) if interval else ""


def _change(change: Interval | None) -> tuple[str, str]:
    if change is None:
        return cells.NONE, ""
    return cells.points(change.value) + "*" * change.significant, cells.points_range(change.low, change.high)


def _spread(latency: Latency | None) -> str:
    if latency is None or latency.speedup_low == latency.speedup_high:
        return ""
    return cells.three_range(latency.speedup_low, latency.speedup_high)


def _reference(rows: Sequence[Row]) -> str:
    without = [row.name for row in rows if not row.differences]
    return without[0] if len(without) == 1 else "the teacher of the same seed"


def _finite(value: object) -> object:
    """JSON has no NaN: null instead."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
