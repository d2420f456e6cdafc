"""A look at a file says what it is, and the command that it prints runs; no word of a note is printed."""

import json
import random
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support import taggers

from clinlm.config.errors import ConfigError, DataError
from clinlm.config.settings import compose, plain
from clinlm.corpora.synthetic.fhir_resources import SyntheticFhir
from clinlm.corpora.synthetic.omop_tables import SyntheticOmop
from clinlm.pipeline import execution
from clinlm.predict.check import CheckSettings, check_input
from clinlm.tasks.base import Task

rng = random.Random(0)
SECRET = "zyxwvut"
NOTES = [
    f"{SECRET} {' '.join(rng.choices('the patient has a fever and cough today'.split(), k=20))}" for _ in range(60)
]
LABELS = [rng.sample(["asthma", "flu", "gout, acute"], rng.choice([1, 1, 2])) for _ in NOTES]
PATIENTS = [f"p{number // 2}" for number in range(60)]


def lines(path: Path, **settings: str) -> list[str]:
    return [*check_input(CheckSettings.of([f"input={path}", *(f"{key}={value}" for key, value in settings.items())]))]


def typed(printed: list[str]) -> list[str]:
    """Return the overrides of the command at the end, as a shell reads them."""
    start = next(number for number, line in enumerate(printed) if line.startswith("clinlm "))
    return shlex.split("\n".join(printed[start:]).replace("\\\n", " "))[1:]


def opened(printed: list[str], store: Path) -> Task:
    task, _ = execution.open_task_from(plain(compose("config", typed(printed)).task), store)
    return task


def table(**columns: Any) -> pl.DataFrame:
    return pl.DataFrame({"mrn": PATIENTS, "visit": range(60), "note": NOTES, **columns})


def semicolons() -> pl.DataFrame:
    return table(diagnoses=[";".join(own) for own in LABELS])


def pipes() -> pl.DataFrame:
    return table(codes=["|".join(own) for own in LABELS], admitted=["2020-01-02"] * 30 + ["3/4/2020"] * 30)


def one_label() -> pl.DataFrame:
    return table(sex=["f", "m"] * 30, category=[own[0] for own in LABELS])


def flags() -> pl.DataFrame:
    return table(**{name: [int(name in own) for own in LABELS] for name in ("asthma", "flu")})


def test_a_split_column_is_used_if_it_names_the_splits(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    for names, used in ((("Train", "dev", "TEST"), True), (("train", "dev", "eval"), False), (("0", "1", "2"), False)):
        part = [names[min(number // 20, 2)] for number in range(60)]
        semicolons().with_columns(pl.Series("part", part)).write_csv(path, separator="|")
        printed = lines(path)
        assert ("task.corpus.split=part" in typed(printed)) == used
        assert ("splits     train 20, validation 20, test 20" in printed) == used
        assert any("separated by '|'" in line for line in printed)


@pytest.mark.parametrize(
    ("made", "suffix"), [(semicolons, ".csv"), (pipes, ".parquet"), (one_label, ".tsv"), (flags, ".parquet")]
)
def test_the_command_for_a_table_opens_it(tmp_path: Path, made: Callable[[], pl.DataFrame], suffix: str) -> None:
    path = tmp_path / f"my notes{suffix}"
    frame = made()
    if suffix == ".parquet":
        frame.write_parquet(path)
    else:
        frame.write_csv(path, separator="," if suffix == ".csv" else "\t")
    printed = lines(path)
    assert not any(SECRET in line for line in printed)
    assert all(len(line) <= 80 for line in printed if str(tmp_path) not in line) and len(printed) <= 30
    words = typed(printed)
    assert "task.corpus.text=note" in words and "task.corpus.group=mrn" in words and "task.corpus.id=visit" in words
    assert words[0] == ("task=table_multiclass" if made is one_label else "task=table")
    examples = opened(printed, tmp_path / "store").examples
    there = {label for own in LABELS for label in own}
    assert {*examples.labels} == (there if made is not flags else {"asthma", "flu"})
    used = frame.filter(pl.col("note").is_in(examples.frame["text"].to_list()))
    assert examples.frame["group"].n_unique() == used["mrn"].n_unique() > 25
    told = "\n".join(printed)
    assert "30, of 2 to 2 notes" in told and ("dates are written in 2 ways (9-9-9; 9/9/9)" in told) == (made is pipes)


def test_forms_that_a_file_does_not_name(tmp_path: Path) -> None:
    """Semicolons, an old encoding, a split of one's own, and 0/1 columns with empty cells."""
    split = ["train"] * 40 + ["val"] * 10 + ["test"] * 10
    frame = table(flu=(["1", "0", ""] * 20), naïve=["0", "1"] * 30, split=split)
    path = tmp_path / "old.csv"
    path.write_bytes(frame.write_csv(separator=";").encode("cp1252"))
    printed = lines(path)
    assert "text separated by semicolons, cp1252" in printed[0]
    wanted = {"task.corpus.encoding=cp1252", "task.corpus.split=split", "task.corpus.uncertain=negative"}
    assert wanted <= {*typed(printed)}
    assert "20 cells of 0/1 columns are empty or -1" in " ".join(" ".join(printed).split())
    examples = opened(printed, tmp_path / "store").examples
    assert examples.labels == ("naïve", "flu") and len(examples.members("train")) == 40


def test_lists_and_spans_of_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "lists.jsonl"
    rows = [{"text": text, "labels": own} for text, own in zip(NOTES, LABELS, strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert len(opened(lines(path), tmp_path / "store").examples.labels) == 3
    spans = taggers.written(tmp_path / "spans.jsonl")
    printed = lines(spans)
    assert "corpus@task.corpus=span_table" in typed(printed)
    assert {"task": opened(printed, tmp_path / "store").kind} == {"task": "entities"}


def test_a_column_that_is_named_is_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "binary.csv"
    table(labels=[own[0] for own in LABELS], died=[int("flu" in own) for own in LABELS]).write_csv(path)
    assert "0/1 columns beside the labels: died" in " ".join(lines(path))
    printed = lines(path, labels="died", id="visit")
    assert "task.corpus.labels=[died]" in typed(printed) and any(
        line.startswith("labels     1: died") for line in printed
    )


def test_what_is_odd_is_counted(tmp_path: Path) -> None:
    frame = table(labels=["401.0"] * 40 + ["Flu"] * 10 + ["flu"] * 10, ward=["A"] * 60)
    texts = ["<p>one and the same</p>"] * 30 + ["two\x02 a  b"] * 2 + NOTES[32:]
    path = tmp_path / "odd.csv"
    frame.with_columns(note=pl.Series(texts)).write_csv(path)
    told = " ".join(" ".join(lines(path)).split())
    for fact in (
        "ward holds one value",
        "30 notes have HTML",
        "2 notes have control characters",
        "30 of 60 notes have the same text",
        "1 labels are spelt in several ways",
        "1 labels end in .0",
        "30 notes repeat the text of another",
    ):
        assert fact in told, told


def conll(folder: Path) -> Path:
    sentence = "the O\nfever B-Disease\nof O\ngout I-Disease\n\n"
    for name in ("train", "devel", "test"):
        (folder / f"{name}.tsv").write_text((f"{name} O\n" + sentence).replace(" ", "\t") * 40)
    return folder


def pubtator(folder: Path) -> Path:
    each = [f"{n}|t|Gout {n}.\n{n}|a|A toe.\n{n}\t0\t4\tGout\tDisease\tD1\n" for n in range(20)]
    (folder / "corpus.txt").write_text("\n".join(each))
    return folder / "corpus.txt"


def brat(folder: Path) -> Path:
    for number in range(20):
        (folder / f"{number}.txt").write_text(f"Gout {number}.")
        (folder / f"{number}.ann").write_text("T1\tDisease 0 4\tGout\n")
    (folder / "README.txt").write_text("not annotated")
    return folder


@pytest.mark.parametrize(("made", "what"), [(conll, "conll"), (pubtator, "PubTator"), (brat, "out: README.txt")])
def test_corpora_of_spans_are_recognized(tmp_path: Path, made: Callable[[Path], Path], what: str) -> None:
    (tmp_path / "corpus").mkdir()
    printed = lines(made(tmp_path / "corpus"))
    assert what in " ".join(" ".join(printed[:3]).split()) and any(
        line.startswith("spans      1: Disease") for line in printed
    )
    task = opened(printed, tmp_path / "store")
    assert task.kind == "entities" and "B-Disease" in task.examples.labels


def test_mimic_is_recognized_and_not_read(tmp_path: Path) -> None:
    for name in ("NOTEEVENTS", "DIAGNOSES_ICD", "ADMISSIONS", "PATIENTS"):
        (tmp_path / f"{name}.csv.gz").touch()
    printed = lines(tmp_path)
    assert typed(printed)[0] == "task=mimic3_diagnoses" and "task=mortality" in " ".join(printed)


@pytest.mark.parametrize(
    "header",
    "clinical_note,icd10 clinical_note,chief_complaint progress_note,cancer radiology_report,pneumonia "
    "free_text,label hpi,dx note1,label1 text,2023 Text,0,1,2 Freitext,ICD-10 texto,codigo "
    "compte_rendu,codes_cim".split(),
)
def test_usual_headers_are_read(tmp_path: Path, header: str) -> None:
    path, names = tmp_path / "t.csv", header.split(",")
    more = [f",{number % 2}" * (len(names) - 1) for number in range(len(NOTES))]
    path.write_text("\n".join([header, *(note + own for note, own in zip(NOTES, more, strict=True)), ""]))
    printed = "\n".join(lines(path))
    assert f"{len(names)} columns" in printed and all(name in printed for name in names) and SECRET not in printed
    assert f"task.root={path}" in printed and "task=table" in printed
    path.write_text(f"{path.read_text()}{header}\n")  # joined to another file: still a header
    assert f"{len(names)} columns" in "\n".join(lines(path))


def test_what_cannot_be_used_says_why(tmp_path: Path) -> None:
    path = tmp_path / "numbers.csv"
    path.write_text("row,b\n1,2\n3,4\n")
    with pytest.raises(ConfigError, match="must have a column of text, got row, b; set text to it"):
        lines(path)
    with pytest.raises(DataError, match="column 'c', got numbers.csv with row, b"):
        lines(path, text="c")
    path.write_text("1,secret came in today,flu\n2,secret left,gout\n")
    with pytest.raises(DataError, match="must begin with the names of its columns.*is it a record") as caught:
        lines(path)
    assert "secret" not in str(caught.value)
    path.write_text("discharge,Smith,headache,F\ndischarge,Jones,cough,M\nvisit,Miller,flu,F\n")
    with pytest.raises(DataError, match="is it a record") as caught:
        lines(path)
    assert not any(name in str(caught.value) for name in ("discharge", "Smith", "headache"))
    path.write_text("Smith,headache\nJones,cough since Monday\nMiller,flu\n")
    with pytest.raises(DataError, match="is it a record.*or text=COLUMN to the command if they are names") as caught:
        lines(path)
    assert not any(name in str(caught.value) for name in ("Smith", "headache"))
    assert "2 columns" in "\n".join(lines(path, text="headache"))
    with pytest.raises(DataError, match="a folder must be of brat .* with numbers.csv; set input to one of its files"):
        lines(tmp_path)
    with pytest.raises(ConfigError, match="unknown setting 'inptu'; did you mean input"):
        CheckSettings.of(["inptu=a"])


@pytest.mark.parametrize(
    ("maker", "what", "corpus"),
    [
        (SyntheticOmop, "OMOP CDM: note, condition_occurrence", "omop"),
        (SyntheticFhir, "FHIR: DocumentReference", "fhir"),
    ],
)
def test_an_export_of_a_record_system_is_recognized(tmp_path: Path, maker: Any, what: str, corpus: str) -> None:
    printed = " ".join(" ".join(lines(maker(tmp_path, patients=12).tables())).split())
    assert what in printed and f"corpus@task.corpus={corpus}" in printed and "task=conditions" in printed


def test_concepts_of_i2b2_are_recognized(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("chest pain\n")
    (tmp_path / "a.con").write_text('c="pain" 1:1 1:1||t="problem"\n')
    assert "corpus@task.corpus=i2b2_concepts" in " ".join(lines(tmp_path))
