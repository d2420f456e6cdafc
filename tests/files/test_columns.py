"""Which first lines are names of columns, and what of them an error shows: of a record, nothing."""

import re
from pathlib import Path

import pytest

from clinlm.config.errors import DataError
from clinlm.files.columns import is_header, require_header, showable
from clinlm.files.delimited import scan_delimited

HEADERS = {
    "clinical_note,icd10": "clinical_note,icd10",
    "clinical_note,chief_complaint": "clinical_note,chief_complaint",
    "progress_note,cancer": "progress_note",
    "radiology_report,pneumonia": "radiology_report",
    "free_text,label": "free_text,label",
    "hpi,dx": "hpi,dx",
    "note1,label1": "note1,label1",
    "text,2023": "text",
    "Text,0,1,2": "Text",
    "Freitext,ICD-10": "Freitext,ICD-10",
    "texto,codigo": "texto,codigo",
    "compte_rendu,codes_cim": "compte_rendu,codes_cim",
    "id,text,Heart failure": "id,text",
    "Path,Sex,Age,No Finding,Lung Opacity": "Path,Sex,Age,No Finding",
    "ROW_ID,HADM_ID,CHARTDATE,TEXT": "ROW_ID,HADM_ID,CHARTDATE,TEXT",
    "id,NoteText,bodySite,401.9": "id,NoteText,bodySite",
    "Befundtext,Krebs": "",
    "anamnese,kanker": "anamnese",
}
"""A first line, and the cells of it that may be shown."""

RECORDS = [
    "discharge,John Smith,severe headache,F",
    "1,John Smith,flu",
    "7,p1,headache today,Report",
    "2023-01-02,discharge,flu",
    "12345678,discharge",
    "Report,patient has fever,F",
    "1,discharge,Smith",
    "1,the patient came in with a complaint",
    "discharge," + "x" * 65,
    "headache,1",
    "0,1",
]


@pytest.mark.parametrize("line", HEADERS)
def test_a_header_is_one_and_shows_its_names(tmp_path: Path, line: str) -> None:
    names = line.split(",")
    assert is_header(names) and ",".join(showable(names)) == HEADERS[line]
    path = tmp_path / "t.csv"
    path.write_text(f"{line}\nseen today,1\n")
    with pytest.raises(DataError, match=r"must have the column 'zzzz', got t\.csv with") as caught:
        scan_delimited(path, ["zzzz"])
    hidden = [name for name in names if name not in showable(names)]
    assert all(name in str(caught.value) for name in showable(names))
    assert not any(re.search(rf"\b{re.escape(name)}\b", str(caught.value)) for name in hidden)
    assert (f"{len(hidden)} " in str(caught.value)) == bool(hidden)


@pytest.mark.parametrize("line", RECORDS)
def test_of_a_record_nothing_is_shown(tmp_path: Path, line: str) -> None:
    assert not is_header(line.split(","))
    path = tmp_path / "t.csv"
    path.write_text(f"{line}\n{line}\n")
    for columns in (["text"], ["disharge", "Reprt"]):
        with pytest.raises(DataError, match=r"is it a record\?") as caught:
            scan_delimited(path, columns)
        told = str(caught.value).replace(", ".join(map(repr, columns)), "")
        cells = [re.escape(cell) for cell in line.split(",") if cell not in "0127"]  # which may count columns
        assert not any(re.search(rf"\b{cell}\b", told) for cell in cells)


def test_cells_that_are_names_of_people_ids_or_codes_are_not_shown() -> None:
    data = [
        "Smith",
        "McDonald",
        "Smith-Jones",
        "E11.9",
        "I10",
        "MRN12345",
        "Patient 7",
        "noé",
        "Report: no",
        "F",
        "flu",
    ]
    assert showable(data) == []
    assert showable(["y_2023", "(column 3)", "note.text", "label_10", "follow-up"]) == [
        "y_2023",
        "(column 3)",
        "note.text",
        "label_10",
        "follow-up",
    ]


def test_the_near_name_is_one_that_may_be_shown() -> None:
    path = Path("t.csv")
    with pytest.raises(DataError, match=r"with clinical_note, icd10; did you mean clinical_note\?"):
        require_header(path, ["clinical_note", "icd10"], ["clinical_notes"])
    with pytest.raises(
        DataError, match=r"with note_id and 1 more column whose name may be text or data; set columns"
    ) as caught:
        require_header(path, ["note_id", "Smith"], ["Smithe"])
    assert not re.search(r"\bSmith\b", str(caught.value))
    with pytest.raises(DataError, match=r"with progress_note, cancer; did you mean cancer\?"):
        require_header(path, ["progress_note", "cancer"], ["progress_note", "cancr"])  # one is there: it is a header
    with pytest.raises(DataError, match="with 3 columns whose names may be text or data; set columns"):
        require_header(path, ["1", "Smith", "flu"], ["flu", "text"])


@pytest.mark.parametrize(
    ("line", "told"),
    [("note,note,b", r"1 of 3 again \(note\)"), ("Smith,Smith,x", r"1 of 3 again \(is the first line")],
)
def test_a_repeated_name_is_shown_if_it_is_one(tmp_path: Path, line: str, told: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"{line}\n1,2,3\n")
    with pytest.raises(DataError, match=told) as caught:
        scan_delimited(path, ["text"])
    assert "Smith" not in str(caught.value)
