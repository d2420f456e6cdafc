"""What few patients' notes say cannot be read out of what is made to be copied, or shown."""

import csv
import json
import zlib
from pathlib import Path

import pytest
from support.pipelines import TINY, composed

from clinlm.cli.run import run
from clinlm.metrics.baseline import TfidfBaseline
from clinlm.tracking.run_progress import RunProgress

pytestmark = pytest.mark.usefixtures("quick")
CANARY = "qwyxel brontavik fulmozz zerphid"
"""Words that no other note has."""


def said(path: Path) -> str:
    """Return what a file says: its text, or its terms; of a tokenizer the pieces, a line each."""
    data = path.read_bytes()
    if path.suffix == ".zlib":
        data = zlib.decompress(data)
    if path.name == "tokenizer.json":
        return "\n".join(json.loads(data)["model"]["vocab"]).replace("##", "").lower()
    return data.decode("utf-8", "replace").lower()


def test_a_sentence_of_four_patients_stays_with_their_notes(
    notes_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a teacher with a vocabulary of its own, of a student with some of it, of both TF-IDF, and of their report."""
    with notes_csv.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["text"] = f"{CANARY} {row['text']}" if row["group"] in ("p0", "p1", "p2", "p3") else row["text"]
    with (tmp_path / "notes.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    monkeypatch.setattr("support.pipelines.TINY", [one for one in TINY if not one.startswith("student.")])
    small = ("pipeline=distillation", "model@student=text_cnn", "student.embedding_size=8", "epochs=1")
    run(composed(tmp_path / "notes.csv", tmp_path / "store", *small), RunProgress("distillation", "val/macro_f1"))
    (notes,), (whole,) = tmp_path.glob("store/task-*"), tmp_path.glob("store/tfidf-*")
    assert {*CANARY.split()} <= {*TfidfBaseline.load(whole).vocabulary}, "it was trained on"
    leaving = [
        path
        for path in (*tmp_path.glob("store/**/*"), *tmp_path.glob("run/**/*"))
        if path.is_file() and not {notes, whole} & {*path.parents}
    ]
    names = {path.name for path in leaving}
    assert {"tokenizer.json", "terms.zlib", "serving.json", "README.md", "report.json", "table.json"} <= names
    parts = {word[at : at + 4] for word in CANARY.split() for at in range(len(word) - 3)}
    for path in leaving:
        told = said(path)
        assert not [word for word in CANARY.split() if word in told], path
        if path.name in ("tokenizer.json", "terms.zlib"):
            assert not [part for part in parts if part in told], path
    (card,) = tmp_path.glob("store/student-*/README.md")
    assert "terms learnt from the training notes, each found in at least 5 groups (patients)" in card.read_text()
    assert "those of single patients among them: keep it where the notes are" in (whole / "README.md").read_text()
