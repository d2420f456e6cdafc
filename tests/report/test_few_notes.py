"""A handful of notes: refused where a split has one, and otherwise measured to the end, undefined numbers as such."""

import csv
import json
from pathlib import Path

import pytest
from support.pipelines import composed
from support.reports import recorded

from clinlm.config.errors import DataError
from clinlm.pipeline import execution
from clinlm.report.report import Report

pytestmark = pytest.mark.usefixtures("quick")
RARE, EVEN = ([(label,) for label in word] for word in ("aaaaaaab", "aabbccdd"))
"""Labels of every note: one that only training has; four, each in two notes."""


def written(folder: Path, labels: list[tuple[str, ...]]) -> Path:
    path = folder / "notes.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "group", "text", "labels"])
        for number, own in enumerate(labels):
            writer.writerow([number, number, f"the patient has w{number} and {' '.join(own)}", ";".join(own)])
    return path


def test_three_notes_are_refused_when_the_task_opens(tmp_path: Path) -> None:
    config = composed(written(tmp_path, EVEN[:3]), tmp_path / "store")
    with pytest.raises(DataError, match="at least 2 documents, got 1 in train, 1 in validation, 1 in test, of 3 in"):
        execution.open_task(config)


@pytest.mark.parametrize("labels", [RARE, pytest.param(EVEN, marks=pytest.mark.integration)])
def test_eight_notes_are_reported_to_the_end(labels: list[tuple[str, ...]], tmp_path: Path) -> None:
    """Where all test notes have one label, metrics of rank are undefined: null in files, a dash in tables."""
    few = ("task.shares=[0.4,0.3,0.3]", "task.labels=8", "epochs=1", "pipeline=quantization")
    run, task = recorded(composed(written(tmp_path, labels), tmp_path / "store", *few))
    report = Report([run], (task, None), tmp_path, stages=True)
    report.print("Few", report.results[-1].name, [])
    for path in tmp_path.glob("*.json"):
        json.loads(path.read_text(), parse_constant=pytest.fail)
    quality = json.loads((tmp_path / "table.json").read_text())["rows"][-1]["quality"]
    assert quality["macro_f1"] is not None and (quality["macro_auroc"] is None) == (labels is RARE)
    assert (tmp_path / "validation.md").is_file()
