"""Laws of the reader of single MIMIC-III notes, on hand-made tables."""

import csv
from pathlib import Path

import polars as pl
import pytest

from clinlm.corpora.base import COLUMNS
from clinlm.corpora.mimic.mimic3_notes import Mimic3Notes

HEADER = ("ROW_ID SUBJECT_ID HADM_ID CHARTDATE CHARTTIME STORETIME CATEGORY DESCRIPTION CGID ISERROR TEXT").split()
Row = tuple[object, ...]


def note(row: object, subject: object, text: str, category: str = "Nursing", error: object = "") -> Row:
    return (row, subject, "", "2101-03-01", "", "", category, "Report", "", error, text)


NOTES = [
    note(3, 2, "two\nlines", "Physician "),
    note(1, 1, "one"),
    note(2, 1, "again", "Radiology"),
    note(4, 2, "wrong", error=1),
    note(5, 2, " \n"),
]


def write(root: Path, notes: list[Row]) -> Path:
    root.mkdir(exist_ok=True)
    with (root / "NOTEEVENTS.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HEADER, *notes])
    return root


def test_a_note_is_a_record(tmp_path: Path) -> None:
    records = Mimic3Notes(write(tmp_path, NOTES)).records()
    assert records.frame.columns == list(COLUMNS)
    assert records.frame.schema["labels"] == pl.List(pl.String)
    assert records.frame.rows() == [
        ("3", "2", "two\nlines", [], {"category": "Physician"}),
        ("1", "1", "one", [], {"category": "Nursing"}),
        ("2", "1", "again", [], {"category": "Radiology"}),
    ]
    assert records.notices == ("1 of 5 notes dropped: ISERROR = 1", "1 of 5 notes dropped: empty text")
    assert not Mimic3Notes.remote_allowed


def test_categories_are_chosen(tmp_path: Path) -> None:
    root = write(tmp_path, NOTES)
    assert Mimic3Notes(root, categories=["Physician", "Radiology"]).records().frame["id"].to_list() == ["3", "2"]
    with pytest.raises(ValueError, match=r"none of \['Nursin'\]; it has Nursing, Physician, Radiology"):
        Mimic3Notes(root, categories=["Nursin"]).records()


def test_a_fraction_holds_whole_patients(tmp_path: Path) -> None:
    root = write(tmp_path, [note(number, number % 40, f"text {number}") for number in range(400)])
    every = Mimic3Notes(root).records().frame
    for fraction in (0.1, 0.5):
        drawn = Mimic3Notes(root, fraction=fraction).records()
        assert fraction * 400 <= drawn.frame.height < fraction * 400 + 10
        whole = every.filter(pl.col("group").is_in(drawn.frame["group"].implode()))
        assert drawn.frame.equals(whole)
        assert drawn.notices == (f"{400 - drawn.frame.height} of 400 notes not read: fraction {fraction}",)
    small, large = (set(Mimic3Notes(root, fraction=f).records().frame["id"]) for f in (0.1, 0.5))
    assert small < large
    assert small != set(Mimic3Notes(root, fraction=0.1, seed=1).records().frame["id"])


@pytest.mark.parametrize(
    ("notes", "law"),
    [
        ([], "it has no note"),
        ([note(1, 1, " ")], "none of the 1 read"),
        ([note(1, "", "x")], "a note must have a SUBJECT_ID, 1 in"),
        ([note(1, 1, "x", error="yes")], "ISERROR must be 1, 0 or empty"),
        ([note(1, 1, "x"), note(1, 2, "y")], "ROW_ID must be unique"),
    ],
)
def test_bad_tables_are_errors(tmp_path: Path, notes: list[Row], law: str) -> None:
    with pytest.raises(ValueError, match=law):
        Mimic3Notes(write(tmp_path, notes)).records()


@pytest.mark.parametrize("settings", [{"categories": "Nursing"}, {"categories": []}, {"fraction": 0}, {"fraction": 2}])
def test_bad_settings_are_errors(tmp_path: Path, settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="got "):
        Mimic3Notes(tmp_path, **settings)  # type: ignore[arg-type]


def test_the_fingerprint_follows_the_table(tmp_path: Path) -> None:
    before = Mimic3Notes(write(tmp_path, NOTES)).fingerprint()
    assert Mimic3Notes(write(tmp_path, NOTES[1:])).fingerprint() != before
