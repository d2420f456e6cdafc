"""How a sweep's models are read: as kept or as of the last epoch, averaged over seeds, beside a published table."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import polars as pl
from rich.console import Console

from clinlm.models.artifact import Artifact
from clinlm.report import epochs
from clinlm.report.labels import label_table
from clinlm.report.published import Published, side_by_side
from clinlm.report.row import Row
from clinlm.tasks.base import Task

KEPT, LAST, DEPLOYED = "ours", "ours, last epoch", "ours, deployed"
_HOW = (
    "ours is the epoch that was best on validation; last epoch is that of a pipeline's last stage, which began from "
    "the best of the stage before; what does not train in epochs is read from the best of the stage before",
    "± is the standard deviation over seeds (n - 1)",
)


@final
@dataclass(frozen=True)
class Reading:
    """Rows and per-label tables of one reading, by the name of the row."""

    rows: Mapping[str, Row]
    labels: Mapping[str, pl.DataFrame]


def read(
    task: Task, rows: Sequence[Row], per_label: Mapping[str, Any], artifacts: Mapping[str, Artifact], folder: Path
) -> dict[str, Reading]:
    """Return the models as of their last epoch, where they trained, as they were kept, and as engines run them.

    Writes `epochs.csv` where something trained.

    The tables of labels are whole in both readings: what did not train in epochs is as it is.

    Args:
        task: opened.
        rows, per_label: of `compare`.
        artifacts: name of a row -> its artifact; baselines have none.
        folder: of the sweep.
    """
    kept = Reading({row.name: row for row in rows if not row.deployment}, per_label)
    deployed = Reading({row.name: row for row in rows if row.deployment}, {})
    trained = {name: one for name, one in artifacts.items() if epochs.has_epochs(one)}
    if not trained:
        return {KEPT: kept, DEPLOYED: deployed}
    epochs.frame(task, trained).write_csv(folder / "epochs.csv")
    lasts = {row.name: epochs.last_epoch(task, row, trained[row.name]) for row in rows if row.name in trained}
    last = Reading(
        {name: row for name, (row, _) in lasts.items()},
        {row.name: lasts[row.name][1] if row.name in lasts else per_label[row.name] for row in rows},
    )
    return {LAST: last, KEPT: kept, DEPLOYED: deployed}


def mean(rows: Sequence[Row]) -> Row:
    """Return the mean over seeds: of quality with its standard deviation (n - 1), and of p50 latency and speed-up."""
    first = rows[0]
    if len(rows) == 1:
        return first
    drawn = {metric: [row.quality[metric] for row in rows] for metric in first.quality}
    quality = {metric: float(np.mean(values)) for metric, values in drawn.items()}
    deviations = {metric: float(np.std(values, ddof=1)) for metric, values in drawn.items()}
    time = first.latency
    if time is not None:
        times = [row.latency for row in rows if row.latency is not None]
        p50, speedup = (float(np.mean([getattr(t, name) for t in times])) for name in ("p50_ms", "speedup"))
        time = replace(time, p50_ms=p50, speedup=speedup)
    return replace(first, quality=quality, deviations=deviations, latency=time)


def print_published(
    published: Published,
    readings: Mapping[str, Reading],
    groups: Mapping[str, str],
    notices: Sequence[str],
    folder: Path,
    console: Console,
) -> None:
    """Print the published table beside ours, and the labels one by one where the paper has them.

    Writes published.md and published_labels.md. Where the paper reports its last epoch, ours stands above the epoch
    that was kept.

    Args:
        published: the paper's tables.
        readings: see `read`.
        groups: name of a row -> the name that its seeds share.
        notices: what has to be known of ours: how labels were made, where keywords win.
        folder: of the sweep.
        console: to print on.
    """
    shown = {reading: one for reading, one in readings.items() if reading != LAST or published.last_epoch}
    beside: dict[str, dict[str, Row]] = defaultdict(dict)
    for reading, one in shown.items():
        for group, own in _grouped(one.rows, groups).items():
            beside[group][reading] = mean(own)
    table, markdown = side_by_side(beside, published)
    console.print(table)
    ending = "\nOurs:\n\n" + "".join(f"- {each}\n" for each in (*_HOW, *notices))
    console.print("\n".join(notices), markup=False)
    (folder / "published.md").write_text(markdown + ending, encoding="utf-8")
    if published.labels:
        tables = [
            label_table(_grouped(one.labels, groups), published, reading)
            for reading, one in shown.items()
            if reading != DEPLOYED
        ]
        console.print(tables[0][0])  # the other is in the file
        (folder / "published_labels.md").write_text("\n".join(text for _, text in tables) + ending, encoding="utf-8")


def _grouped(values: Mapping[str, Any], groups: Mapping[str, str]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = defaultdict(list)
    for name, value in values.items():
        found[groups[name]].append(value)
    return dict(found)
