"""Quality after every epoch, from what a stage kept (`callbacks.every_epoch`)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float
from safetensors import safe_open

from clinlm.models.artifact import EPOCHS, Artifact
from clinlm.report.row import Row
from clinlm.tasks.base import Task
from clinlm.training.method_report import method_reports
from clinlm.training.promises import BestEpoch

SPLITS = ("validation", "test")
ALL = "macro"
"""The name of the mean over labels, where the name of a label would stand."""

_METRICS = ("precision", "recall", "f1", "auroc", "auprc")


def has_epochs(artifact: Artifact) -> bool:
    """Whether the stage trained and kept what its model said after every epoch."""
    return (artifact.folder / EPOCHS).is_file()


def kept_epoch(artifact: Artifact) -> int | None:
    """Return the epoch, counted from 1, whose weights the artifact holds; None if no callback chose one."""
    best = [row for report in method_reports(artifact.report).values() for row in report.of(BestEpoch)]
    return best[0].epoch + 1 if best and best[0].epoch >= 0 else None


def probabilities(artifact: Artifact, task: Task) -> list[dict[str, Float[np.ndarray, "documents outputs"]]]:
    """Return the probabilities of validation and test by split, for every epoch in order."""
    with safe_open(artifact.folder / EPOCHS, "numpy") as file:
        total = 1 + max(int(name.rpartition("/")[2]) for name in file.keys())
        return [
            {split: task.probabilities(file.get_tensor(f"{split}/{epoch}")) for split in SPLITS}
            for epoch in range(total)
        ]


def frame(task: Task, stages: Mapping[str, Artifact]) -> pl.DataFrame:
    """Return quality per stage, epoch, split and label, and its macro mean, as one long table.

    Columns: stage, epoch (from 1), kept (whether the artifact holds this epoch), split, label (`ALL` for the mean),
    accuracy, precision, recall, f1, auroc, auprc (null where a task does not tell it of a label). Thresholds come from
    validation, epoch by epoch.
    """
    tables = []
    for name, artifact in stages.items():
        every = probabilities(artifact, task)
        kept = kept_epoch(artifact) or len(every)
        for number, said in enumerate(every, 1):
            thresholds = task.fit_thresholds(said["validation"])
            for split in SPLITS:
                judged = task.evaluate(split, said[split], thresholds)
                whole = judged.quality()
                mean = {"label": ALL, "accuracy": whole["accuracy"]} | {m: whole[f"macro_{m}"] for m in _METRICS}
                labels = judged.per_label()
                told = [one if one in labels.columns else pl.lit(None).alias(one) for one in mean]
                lines = pl.concat([pl.DataFrame([mean]), labels.select(told)], how="vertical_relaxed")
                place = {"stage": name, "epoch": number, "kept": number == kept, "split": split}
                tables.append(lines.select(*(pl.lit(v).alias(k) for k, v in place.items()), pl.all()))
    return pl.concat(tables)


def last_epoch(task: Task, row: Row, artifact: Artifact) -> tuple[Row, Any]:
    """Return `row` and its per-label table as they would be had the last epoch been kept; costs stay as they are."""
    said = probabilities(artifact, task)[-1]
    thresholds = task.fit_thresholds(said["validation"])
    judged = task.evaluate("test", said["test"], thresholds)
    return replace(row, quality=judged.quality(), intervals={}, differences={}), judged.per_label()
