"""Laws of `clinlm-documents`: the files of an outcome task, in the published shape."""

import csv
import stat
from pathlib import Path
from typing import get_args

import pytest
from support.outcome_definition import expected, short
from support.outcome_tables import tables, write

from clinlm.cli.main import run_command
from clinlm.corpora.mimic.mimic3_outcomes import CODES, Outcome
from clinlm.corpora.mimic.outcome_labels import STAYS, SURVIVAL
from clinlm.predict import documents

COLUMNS = {"mortality": "hospital_expire_flag", "length_of_stay": "los_label"}
CODES_FILES = {"diagnoses_3digit": "ALL_3_DIGIT_DIA_CODES.txt", "procedures_3digit": "ALL_3_DIGIT_PRO_CODES.txt"}
BEGIN = "2101-01-01 00:00:00"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return odd tables and 15 plain stays, with lists that put every patient of an odd number to test."""
    rows = {table: list(own) for table, own in tables(3).items()}
    for number in range(15):
        stay, patient = 200 + number, 1 + number % 5
        text = f"Chief Complaint:\ncase {number}\n\nService: MED"
        died, codes = number // 5 % 2, ("4019", "25000", "41401")
        rows["NOTEEVENTS"].append((stay, patient, stay, "2101-01-02", "Discharge summary", "Report", "", text))
        rows["ADMISSIONS"].append((stay, patient, stay, BEGIN, f"2101-01-{2 + number:02} 00:00:00", "URGENT", "", died))
        for table in CODES.values():
            rows[table].append((stay, patient, stay, 1, codes[number // 5]))
    folder = write(tmp_path / "tables", rows)
    for name, people in (("train", (2,)), ("val", (4,)), ("test", (1, 3, 5))):
        (folder / f"mimic_{name}.csv").write_text("\n".join(["SUBJECT_ID", *map(str, people)]) + "\n")
    return folder


def read(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("outcome", get_args(Outcome))
def test_the_files_hold_every_document_and_every_label(tmp_path: Path, root: Path, outcome: str) -> None:
    output = tmp_path / "output"
    settings = [f"task={outcome}", f"task.root={root}", f"task.corpus.lists_root={root}", f"output={output}"]
    told = documents.write_documents([*settings, "task.labels=1", f"store={tmp_path / 'store'}"])
    people = {"train.csv": {"2"}, "val.csv": {"4"}, "test.csv": {"1", "3", "5"}}
    written = 0
    for name, own in people.items():
        header, *rows = read(output / name)
        assert header == ["id", "text", COLUMNS.get(outcome, "short_codes")]
        right = [row for row in expected(root, outcome) if row[1] in own]
        assert rows == [[id, text, label(outcome, labels)] for id, _, text, labels in right]
        written += len(rows)
    assert written > 2 and not (tmp_path / "store").exists()
    assert "PHYSICAL EXAM" not in " ".join(told)
    if outcome in CODES:
        every = dict.fromkeys(code for _, _, code in short(root, outcome))
        assert (output / CODES_FILES[outcome]).read_text() == " ".join(every)
    assert {stat.S_IMODE(path.stat().st_mode) for path in output.iterdir()} == {0o600}
    assert stat.S_IMODE(output.stat().st_mode) == 0o700


def label(outcome: str, labels: tuple[str, ...]) -> str:
    classes = {"mortality": SURVIVAL, "length_of_stay": STAYS}.get(outcome)
    return ",".join(labels) if classes is None else str(classes.index(labels[0]))


def test_every_cell_stands_in_quotes(tmp_path: Path, root: Path) -> None:
    documents.write_documents(["task=mortality", f"task.root={root}", f"output={tmp_path / 'o'}"])
    assert (tmp_path / "o" / "train.csv").read_text().startswith('"id","text","hospital_expire_flag"\n"')


def test_a_failure_leaves_nothing_behind(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(documents, "_write_rows", full)
    before = sorted(tmp_path.iterdir())
    (tmp_path / ".o.draft").mkdir()  # of a killed process
    (tmp_path / ".o.draft" / "train.csv").touch()
    with pytest.raises(OSError, match="no space left"):
        documents.write_documents(["task=mortality", f"task.root={root}", f"output={tmp_path / 'o'}"])
    assert sorted(tmp_path.iterdir()) == before


def test_nothing_is_overwritten(tmp_path: Path, root: Path) -> None:
    with pytest.raises(FileExistsError, match="nothing is overwritten"):
        documents.write_documents(["task=mortality", f"task.root={root}", f"output={root}"])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["task=mortality"], "set output=FOLDER"),
        (["task=symptoms", "output=OUT"], "must be an outcome task"),
        (["task=mortality", "task.root=nowhere", "output=OUT"], "root must have ADMISSIONS.csv"),
        (["task=mortalty", "output=OUT"], "did you mean mortality"),
    ],
)
def test_mistakes_are_one_paragraph(
    tmp_path: Path, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "output"
    words = [word.replace("OUT", str(output)) for word in arguments]
    with pytest.raises(SystemExit) as error:
        run_command("documents", words)
    assert error.value.code == 1 and told in capsys.readouterr().err and not output.exists()


def test_the_help_names_the_data_use_agreement(capsys: pytest.CaptureFixture[str]) -> None:
    run_command("documents", ["--help"])
    assert "data use agreement" in capsys.readouterr().out
