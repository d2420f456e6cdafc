"""Laws of the MTSamples reader, on hand-made tables and on the real one where it is."""

import csv
import gzip
from pathlib import Path

import pytest

from clinlm.corpora.mtsamples import MTSamples

DATA = Path(__file__).parents[3] / "shared" / "data"
HEADER = ["sample_id", "medical_specialty", "sample_name", "description", "transcription", "keywords"]


def write(root: Path, *rows: tuple[str, str, str]) -> Path:
    path = root / "mtsamples.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        lines = [[sample, specialty, "leak", "leak", text, "leak"] for sample, specialty, text in rows]
        csv.writer(file).writerows([HEADER, *lines])
    return path


def test_the_specialties_of_one_note_are_its_labels(tmp_path: Path) -> None:
    write(
        tmp_path,
        ("10", " Surgery", "a note"),
        ("9", "Urology", "other"),
        ("10", "Urology ", "a note"),
        ("9", "Urology", "other"),
    )
    records = MTSamples(tmp_path).records()
    assert records.notices == ()
    assert records.frame.drop("attributes").rows() == [
        ("9", "9", "other", ["Urology"]),
        ("10", "10", "a note", ["Surgery", "Urology"]),
    ]
    assert records.frame["attributes"].to_list() == [{"none": None}] * 2


def test_one_text_under_several_ids_is_one_group(tmp_path: Path) -> None:
    write(
        tmp_path,
        ("10", "A", "The  same\nnote. "),
        ("9", "B", "the same NOTE."),
        ("7", "B", "another"),
        ("100", "C", "the same note."),
    )
    records = MTSamples(tmp_path).records()
    assert dict(records.frame.select("id", "group").iter_rows()) == {"7": "7", "9": "9", "10": "9", "100": "9"}
    assert records.notices == ("2 of 4 notes repeat the text of another sample_id and share its group",)


def test_empty_transcriptions_are_dropped_and_missing_specialties_counted(tmp_path: Path) -> None:
    write(tmp_path, ("1", "A", ""), ("2", "A", " \n"), ("3", "", "note"))
    records = MTSamples(tmp_path).records()
    assert records.frame.select("id", "labels").rows() == [("3", [])]
    assert records.notices == ("2 of 3 rows dropped: empty transcription", "1 of 1 notes have no specialty")


def test_columns_that_name_the_specialty_are_not_read(tmp_path: Path) -> None:
    write(tmp_path, ("1", "A", "note"))
    assert "leak" not in str(MTSamples(tmp_path).records().frame.rows())


def test_root_is_the_folder_or_the_file_plain_or_packed(tmp_path: Path) -> None:
    path = write(tmp_path, ("1", "A", "note"))
    folder = MTSamples(tmp_path).records().frame
    packed = tmp_path / "packed" / "mtsamples.csv.gz"
    packed.parent.mkdir()
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for root in (path, packed, packed.parent):
        assert MTSamples(root).records().frame.equals(folder)
    assert MTSamples(path).fingerprint() == MTSamples(str(tmp_path)).fingerprint() != MTSamples(packed).fingerprint()


def test_bad_input_is_an_error_without_text(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="has neither"):
        MTSamples(tmp_path).records()
    with pytest.raises(FileNotFoundError, match="does not exist"):
        MTSamples(tmp_path / "mtsamples.csv").records()
    for rows, law in (
        ([("1", "A", "secret"), ("1", "B", "secret too")], "1 in mtsamples.csv have several"),
        ([("", "A", "secret")], "every row must have a sample_id"),
        ([("1", "A", "")], "got 1 rows without"),
        ([], "got 0 rows without"),
    ):
        write(tmp_path, *rows)
        with pytest.raises(ValueError, match=law) as caught:
            MTSamples(tmp_path).records()
        assert "secret" not in str(caught.value)
    (tmp_path / "mtsamples.csv").write_text("sample_id,transcription\n1,x\n")
    with pytest.raises(
        ValueError, match="must have the column 'medical_specialty', got mtsamples.csv with sample_id, transcription"
    ):
        MTSamples(tmp_path).records()
    (tmp_path / "mtsamples.csv.gz").write_bytes(b"")
    with pytest.raises(ValueError, match="has both"):
        MTSamples(tmp_path).records()


def test_the_real_table_agrees_with_the_csv_module() -> None:
    path = DATA / "mtsamples.csv.gz"
    if not path.is_file():
        pytest.skip(f"MTSamples is not at {path}")
    with gzip.open(path, "rt", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert len(rows) == 4999
    texts = {row["sample_id"]: row["transcription"] for row in rows}
    labels: dict[str, set[str]] = {}
    for row in rows:
        labels.setdefault(row["sample_id"], set()).add(row["medical_specialty"].strip())
    frame = MTSamples(DATA).records().frame
    assert frame.height == 2377
    assert dict(frame.select("id", "text").iter_rows()) == texts
    assert {id: set(names) for id, names in frame.select("id", "labels").iter_rows()} == labels
    groups: dict[str, set[str]] = {}
    for text, group in frame.select("text", "group").iter_rows():
        groups.setdefault(" ".join(text.lower().split()), set()).add(group)
    assert all(len(found) == 1 for found in groups.values())
