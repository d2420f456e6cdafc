"""The trivial baselines of every comparison: TF-IDF, and the bare keyword matcher where labels come from words."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from clinlm.metrics.baseline import keyword_matches
from clinlm.metrics.fairness import KEYWORDS_ATTRIBUTE
from clinlm.report.entry import Entry
from clinlm.report.row import Row
from clinlm.store.content import read_record
from clinlm.tasks.base import Task
from clinlm.training.teachers.tfidf import Tfidf

BASELINE = "TF-IDF"
KEYWORDS = "keywords"
LABELER = "labeler"


def tfidf(task: Task, task_key: str, root: Path, reference: str) -> Entry:
    """Return TF-IDF + logistic regression, fitted once a task and kept in the store `root`."""
    member = Tfidf(root, task_key)
    model, whole = member.fitted(task)
    row = Row(
        name=BASELINE,
        kind="baseline",
        key=member.folder.name,
        parameters=model.parameters,
        nonzero=model.nonzero,
        bytes=model.bytes,
        seconds=read_record(member.folder)["seconds"],
        cached=whole,
    )
    members = task.examples.members
    validation, test = (model.probabilities(task.passages(members(split))) for split in ("validation", "test"))
    return Entry(
        row, validation, test, lambda document: model.probabilities(task.passages(np.array([document]))), reference
    )


def labeler(task: Task, reference: str) -> Entry | None:
    """Return what models learned from, where that is not what people said; None where it is.

    It is told beside people on test. On validation it agrees with itself.
    """
    validation, test = (task.labelled_probabilities(split) for split in ("validation", "test"))
    if validation is None or test is None:
        return None
    facts = task.examples.facts
    row = Row(LABELER, "baseline", "", parameters=0, nonzero=0, bytes=0, seconds=facts["labeler_seconds"], cached=False)
    return Entry(row, validation, test, None, reference)


def has_keywords(task: Task) -> bool:
    """Whether the records of the task say which labels' words occur in them."""
    kind = task.examples.frame.schema["attributes"]
    return isinstance(kind, pl.Struct) and KEYWORDS_ATTRIBUTE in [each.name for each in kind.fields]


def keywords(task: Task, reference: str) -> Entry:
    """Return the keyword matcher. It reads the words themselves, even where the models find them masked."""
    row = Row(
        name=KEYWORDS, kind="baseline", key="", parameters=0, nonzero=0, bytes=0, seconds=float("nan"), cached=False
    )
    column = task.examples.frame["attributes"].struct.field(KEYWORDS_ATTRIBUTE)
    validation, test = (
        keyword_matches(column.gather(task.examples.members(split)).to_list(), task.examples.labels)
        for split in ("validation", "test")
    )
    return Entry(row, validation, test, None, reference)


def beaten(rows: Sequence[Row]) -> list[str]:
    """Return the notice that names the models which the keyword matcher beats in macro F1; none where it beats none."""
    own = next((row for row in rows if row.name == KEYWORDS), None)
    if own is None:
        return []
    others = [row for row in rows if row is not own]
    lower = [row.name for row in others if row.quality["macro_f1"] < own.quality["macro_f1"]]
    equal = [row.name for row in others if row.quality["macro_f1"] == own.quality["macro_f1"]]
    does = f"{KEYWORDS}: predicts the labels whose words occur (where one is asked for, the most frequent of them)"
    if not lower and not equal:
        return [f"{does}; every other row has a higher macro F1"]
    beats = [f"a higher macro F1 than {', '.join(lower)}"] if lower else []
    beats += [f"the macro F1 of {', '.join(equal)}"] if equal else []
    return [f"{does}, and has {' and '.join(beats)}: the labels come from these words"]
