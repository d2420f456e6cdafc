"""Quality after every epoch, from the predictions that a stage kept (`callbacks.every_epoch`)."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from jaxtyping import Float
from safetensors import safe_open

from clinlm.models.artifact import EPOCHS, Artifact
from clinlm.report.results import ModelResult
from clinlm.tasks.base import Task
from clinlm.training.method_report import method_reports
from clinlm.training.promises import BestEpoch

SPLITS = ("validation", "test")
ALL = "macro"
"""Stands in the column of labels for the mean over labels."""

_METRICS = ("precision", "recall", "f1", "auroc", "auprc")


def with_epochs(results: Sequence[ModelResult]) -> list[ModelResult]:
    """Return the stages that trained and kept the predictions of every epoch."""
    return [result for result in results if result.is_stage and has_epochs(result.lineage.artifact)]


def has_epochs(artifact: Artifact) -> bool:
    """Return whether the stage kept the predictions of every epoch."""
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


def epoch_frame(task: Task, results: Sequence[ModelResult], splits: Sequence[str] = SPLITS) -> pl.DataFrame:
    """Return quality by model, epoch, split and label, and its macro mean, as one long table.

    Columns: stage, epoch (from 1), kept (whether the artifact holds this epoch), split, label (`ALL` for the mean),
    accuracy, precision, recall, f1, auroc, auprc (null where a task has none by label). Thresholds come from
    validation, epoch by epoch.

    Args:
        task: opened.
        results: at least one, as `with_epochs` returns them.
        splits: of `SPLITS`, those to evaluate.
    """
    tables = []
    for result in results:
        artifact = result.lineage.artifact
        epochs = probabilities(artifact, task)
        kept = kept_epoch(artifact) or len(epochs)
        for number, predicted in enumerate(epochs, 1):
            thresholds = task.fit_thresholds(predicted["validation"])
            for split in splits:
                evaluation = task.evaluate(split, predicted[split], thresholds)
                quality, labels = evaluation.quality(), evaluation.per_label()
                mean = {"label": ALL, "accuracy": quality["accuracy"]} | {m: quality[f"macro_{m}"] for m in _METRICS}
                columns = [name if name in labels.columns else pl.lit(None).alias(name) for name in mean]
                lines = pl.concat([pl.DataFrame([mean]), labels.select(columns)], how="vertical_relaxed")
                place = {"stage": result.name, "epoch": number, "kept": number == kept, "split": split}
                tables.append(lines.select(*(pl.lit(v).alias(k) for k, v in place.items()), pl.all()))
    return pl.concat(tables)


def last_epoch(task: Task, result: ModelResult) -> ModelResult:
    """Return `result` as it would be had the last epoch been kept; costs stay as they are."""
    predicted = probabilities(result.lineage.artifact, task)[-1]
    evaluation = task.evaluate("test", predicted["test"], task.fit_thresholds(predicted["validation"]))
    labels = tuple(evaluation.per_label().to_dicts())
    return replace(result, quality=evaluation.quality(), intervals={}, differences={}, per_label=labels)
