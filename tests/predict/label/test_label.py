"""Laws of `clinlm-label`: one line a note, from any source, as the labeler says; killed or not."""

import csv
import gzip
import json
import re
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from support.killed import killing
from support.marking import Marker
from support.server import chat, found, in_turn, refused, serving

from clinlm.cli.main import run_command
from clinlm.config.errors import ConfigError
from clinlm.config.validation import CONF
from clinlm.labelers.base import LabelingStopped
from clinlm.predict.label import label_file, label_files
from clinlm.predict.settings import LabelSettings

TERMS = ("ague", "psoriasis", "night sweats")
"""As in the ontology of `conftest.py`."""

Run = Callable[..., Any]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def marked(text: str) -> list[dict[str, Any]]:
    """What the ontology says, in the plainest way."""
    found = re.finditer(rf"\b({'|'.join(TERMS)})\b", text)
    return [{"start": one.start(), "end": one.end(), "label": "MEDICATION"} for one in found]


def written(texts: Sequence[str], path: Path) -> Path:
    rows = [{"id": f"n-{number}", "text": text} for number, text in enumerate(texts)]
    if path.suffix == ".parquet":
        pl.DataFrame(rows).write_parquet(path)
    elif path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ["id", "text"], quoting=csv.QUOTE_ALL)
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return path


@pytest.mark.parametrize("name", ["notes.csv", "notes.parquet", "notes.jsonl.gz"])
def test_every_source_gives_one_line_a_note(tmp_path: Path, texts: list[str], name: str, run: Run) -> None:
    done = run(tmp_path / "out.jsonl", input=written(texts, tmp_path / name))
    found = lines(tmp_path / "out.jsonl")
    assert [one["id"] for one in found] == [f"n-{number}" for number in range(len(texts))]
    assert [one["spans"] for one in found] == [marked(text) for text in texts]
    assert {one["failed"] for one in found} == {None} and {*found[0]} == {"id", "line", "spans", "failed"}
    assert done.complete and done.predicted == {"MEDICATION": sum(len(one["spans"]) for one in found)}
    assert "ague" not in (tmp_path / "out.jsonl").read_text(), "spans without the words"


def test_every_file_of_a_pattern_gets_labels_of_its_own(
    tmp_path: Path, texts: list[str], run: Run, ontology: list[str]
) -> None:
    parts = [written(texts, tmp_path / "notes-1.jsonl.gz"), written(texts[:3], tmp_path / "notes-2.csv")]
    for number, part in enumerate(parts):
        run(tmp_path / f"alone-{number}.jsonl", input=part)
    for part in parts:
        own = [f"input={tmp_path}/notes-*{part.suffix}", f"output={tmp_path / f'labels{part.suffix[1:]}'}"]
        own += [f"store={tmp_path / 'store'}"]
        done = label_files(LabelSettings.of([*ontology, *own]))
        assert done.complete and label_files(LabelSettings.of([*ontology, *own])) == done
    for number, name in enumerate(("labelsgz/notes-1.jsonl", "labelscsv/notes-2.jsonl")):
        assert (tmp_path / name).read_bytes() == (tmp_path / f"alone-{number}.jsonl").read_bytes()


def test_words_are_written_where_asked_for(tmp_path: Path, rough: Path, run: Run) -> None:
    run(tmp_path / "out.jsonl", input=rough, span_texts="true")
    words = {span["text"] for one in lines(tmp_path / "out.jsonl") for span in one["spans"]}
    assert words == set(TERMS)


def test_what_cannot_be_read_is_told(tmp_path: Path, rough: Path, run: Run) -> None:
    done = run(tmp_path / "out.jsonl", input=rough)
    rejects = lines(tmp_path / "out.jsonl.rejects.jsonl")
    assert done.rejects == len(rejects) == len(rough.read_bytes().splitlines()) - done.documents > 5
    assert {one["id"] for one in rejects} == {None, "x"}


def test_killed_and_resumed_is_as_if_never_killed(tmp_path: Path, rough: Path, run: Run, ontology: list[str]) -> None:
    whole, broken = tmp_path / "whole.jsonl", tmp_path / "broken.jsonl"
    plain = run(whole, input=rough)
    with killing("label", tmp_path) as until_done:
        own = [f"input={rough}", f"output={broken}", f"store={tmp_path / 'own'}", "window=8"]
        assert until_done(1, [*ontology, *own])["killed"] >= 3, "it was killed, and more than once"
    assert whole.read_bytes() == broken.read_bytes()
    rejects = [one.with_name(f"{one.name}.rejects.jsonl").read_bytes() for one in (whole, broken)]
    assert rejects[0] == rejects[1]
    progress = json.loads(broken.with_name("broken.jsonl.progress.json").read_text())
    assert progress["complete"] and progress["predicted"] == plain.predicted
    stored = []
    for name in ("store", "own"):
        with closing(sqlite3.connect(next((tmp_path / name).glob("labels-*/answers.sqlite")))) as database:
            stored.append(database.execute("SELECT sha256, spans FROM answers ORDER BY sha256").fetchall())
    assert stored[0] == stored[1], "no answer is lost"


def settings(tmp_path: Path, words: Sequence[str], **others: Any) -> LabelSettings:
    """The settings of a run with a marker, which no group names."""
    marker = {"_target_": "support.marking.Marker", "words": words, "asked": str(tmp_path / "asked"), **others}
    own = [f"input={tmp_path / 'notes.jsonl.gz'}", f"output={tmp_path / 'out.jsonl'}", f"store={tmp_path / 'store'}"]
    told = vars(LabelSettings.of(["labeler=human", *own, "window=2"]))
    return LabelSettings(**told | {"labeler": marker})


def test_a_run_that_was_stopped_goes_on_where_it_stopped(tmp_path: Path) -> None:
    texts = ["ague", "an ague", "unanswerable", "no ague", "expensive ague", "nothing"]
    written(texts, tmp_path / "notes.jsonl.gz")
    with pytest.raises(LabelingStopped, match="0 of 2 requested notes are answered"):
        label_file(settings(tmp_path, ["ague"]))
    assert len(lines(tmp_path / "out.jsonl")) == 4
    done = label_file(settings(tmp_path, ["ague"], stops="nothing stops"))
    assert Marker([], asked=str(tmp_path / "asked")).questions() == texts
    assert [one["failed"] for one in lines(tmp_path / "out.jsonl")] == [
        *(None, None, "it cannot be answered", None, None, None)
    ]
    assert done.totals["failed"] == 1 and done.totals["prompt_tokens"] == 12 and done.documents == 6
    assert label_file(settings(tmp_path, ["ague"])) == done, "what is complete is not done again"
    with pytest.raises(ValueError, match="was begun with another labeler"):
        label_file(settings(tmp_path, ["boils"]))


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """A folder of brat: two notes, one with nested entities of people."""
    folder = tmp_path / "cases"
    folder.mkdir()
    for name, text, entities in [
        ("a", "night ague", "T1\tDisease 0 10\tnight ague\nT2\tDisease 6 10\tague\n"),
        ("b", "boils here", "T1\tDisease 0 5\tboils\n"),
    ]:
        (folder / f"{name}.txt").write_text(text)
        (folder / f"{name}.ann").write_text(entities)
    return folder


def test_a_corpus_brings_what_people_said(tmp_path: Path, cases: Path, run: Run) -> None:
    own = {"root": cases, "labeler": ["labeler=human", "corpus=brat"]}
    run(tmp_path / "people.jsonl", **own)
    assert [[(one["start"], one["end"]) for one in note["spans"]] for note in lines(tmp_path / "people.jsonl")] == [
        [(0, 10)],
        [(0, 5)],
    ]


def test_combinations_come_from_the_shell(tmp_path: Path, cases: Path, run: Run, ontology: list[str]) -> None:
    terms = [one.replace("labeler.", "labeler.labelers.ontology.") for one in ontology[1:]]
    people = ["~labeler.labelers.llm", "+labeler@labeler.labelers.people=human", "corpus=brat"]
    found = {}
    for name in ("union", "intersection", "majority", "priority"):
        run(tmp_path / f"{name}.jsonl", root=cases, labeler=[f"labeler={name}", *terms, *people])
        found[name] = [len(one["spans"]) for one in lines(tmp_path / f"{name}.jsonl")]
    # MEDICATION, as the terms are called here, and Disease never agree; "night ague" of people is longer than "ague".
    assert found == {"union": [1, 1], "intersection": [0, 0], "majority": [0, 0], "priority": [1, 1]}
    assert len(list((tmp_path / "store").glob("labels-*"))) == 1, "the ontology was asked once for all four"


def test_standard_output_has_the_same_lines(
    tmp_path: Path, rough: Path, run: Run, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    run(tmp_path / "out.jsonl", input=rough)
    run(Path("-"), input=rough, rejects=tmp_path / "rejects.jsonl")
    assert capfdbinary.readouterr().out == (tmp_path / "out.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["output=OUT"], "got neither"),
        (["input=IN", "corpus=brat", "root=IN", "output=OUT"], "got both"),
        (["input=IN", "root=IN", "output=OUT"], "root needs a corpus"),
        (["input=IN"], "missing required setting: output"),
        (["input=IN", "output=labels.csv"], "output must end in .jsonl"),
        (["input=IN", "output=-"], "rejects=FILE"),
        (["input=IN", "output=OUT", "windw=3"], "did you mean window"),
        (["input=IN", "output=OUT", "window=0"], "window must be >= 1"),
        (["input=IN", "output=OUT", "window=few"], "a whole number"),
        (["input=IN", "output=OUT", "again=perhaps"], "true or false"),
        (["input=IN", "output=OUT", "text=null"], "text must have a value"),
        (["input=IN", "output=IN", "rejects=OUT"], "different files"),
        (["labeler=ontolgy", "input=IN", "output=OUT"], "did you mean ontology"),
        (["labeler=ontology", "input=IN", "output=OUT"], "add labeler.root=VALUE"),
        (["labeler=human", "input=IN", "output=OUT"], "these notes have no spans"),
        (["labeler=human", "input=missing.jsonl", "output=OUT"], "missing.jsonl"),
        (["labeler=human", "input=IN", "output=no/where.jsonl"], "make it first"),
    ],
)
def test_mistakes_are_one_paragraph(
    tmp_path: Path, rough: Path, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"OUT": str(tmp_path / "out.jsonl"), "IN": str(rough)}
    words = [re.sub("OUT|IN", lambda one: places[one.group()], word) for word in arguments]
    chosen = [] if any(word.startswith("labeler=") for word in words) else ["labeler=human"]
    with pytest.raises(SystemExit) as error:
        run_command("label", [*chosen, *words])
    assert error.value.code == 1 and told in capsys.readouterr().err
    assert not [*tmp_path.glob("*")]


def test_a_run_without_any_answer_fails_and_gives_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    own = [f"output={tmp_path / 'out.jsonl'}", f"input={tmp_path / 'notes.jsonl'}", f"store={tmp_path / 'store'}"]
    (tmp_path / "notes.jsonl").write_text('{"text": "a secret"}\n{"text": "another secret"}\n')
    with serving(in_turn(chat("I cannot, SECRET"))) as server:
        command = ["labeler=llm", f"labeler.base_url={server.url}", "labeler.model=m", "labeler.attempts=1", *own]
        for _ in "first", "again":
            with pytest.raises(SystemExit) as error:
                run_command("label", command)
            told = capsys.readouterr().err
            assert error.value.code == 1 and "got no answer for 2 of 2 (2 times: the answer is not JSON" in told
            assert "secret" not in (told + caplog.text).lower()


def test_a_run_that_failed_before_its_first_note_may_begin_with_other_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = [f"output={tmp_path / 'out.jsonl'}", f"input={tmp_path / 'notes.jsonl'}", f"store={tmp_path / 'store'}"]
    (tmp_path / "notes.jsonl").write_text('{"text": "a secret"}\n')
    with serving(in_turn(refused(400, param="temperature"), found())) as server:
        command = ["labeler=llm", f"labeler.base_url={server.url}", "labeler.model=m", *own]
        with pytest.raises(SystemExit):
            run_command("label", command)
        assert "set the labeler's temperature=null" in capsys.readouterr().err
        run_command("label", [*command, "labeler.temperature=null"])
    assert [one["failed"] for one in lines(tmp_path / "out.jsonl")] == [None]


@pytest.mark.parametrize("tool", ["doccano", "label_studio"])
def test_what_a_tool_imports_comes_back_as_its_export(tmp_path: Path, texts: list[str], tool: str, run: Run) -> None:
    notes = ["😀 ague", *texts]
    run(tmp_path / "out.jsonl", input=written(notes, tmp_path / "notes.csv"), tool=tool)
    rows = lines(tmp_path / "out.jsonl")
    if tool == "label_studio":  # as if people accepted what was predicted
        rows = [{"id": row["id"], "data": row["data"], "annotations": row["predictions"]} for row in rows]
    path = tmp_path / "export.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    corpus = instantiate(OmegaConf.load(CONF / f"corpus/{tool}.yaml"))(root=path)
    frame = corpus.records().frame
    assert frame["id"].to_list() == [f"n-{number}" for number in range(len(notes))]
    assert frame["text"].to_list() == notes and frame["spans"].to_list() == list(map(marked, notes))


@pytest.mark.parametrize("tool", ["doccano", "label_studio"])
def test_a_note_without_an_answer_says_so_to_a_tool_too(tmp_path: Path, tool: str) -> None:
    written(["ague", "unanswerable"], tmp_path / "notes.jsonl.gz")
    label_file(replace(settings(tmp_path, ["ague"]), tool=tool))
    assert [one.get("failed") for one in lines(tmp_path / "out.jsonl")] == [None, "it cannot be answered"]


def test_a_tool_is_one_that_is_known(tmp_path: Path, run: Run) -> None:
    for chosen, told in (
        ({"tool": "x"}, "tool must be one of"),
        ({"tool": "doccano", "span_texts": "true"}, "set one"),
    ):
        with pytest.raises(ConfigError, match=told):
            run(tmp_path / "out.jsonl", input=written(["a"], tmp_path / "notes.csv"), **chosen)


def test_a_corpus_under_an_agreement_stays_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    away = ["labeler=llm", "labeler.model=m", "labeler.base_url=https://example.org/v1", "labeler.allow_remote=true"]
    own = ["corpus=mimic3_notes", f"root={tmp_path}", f"output={tmp_path / 'out.jsonl'}"]
    with pytest.raises(SystemExit):
        run_command("label", [*away, *own])
    assert "data use agreement" in capsys.readouterr().err and not [*tmp_path.glob("*")]


def test_the_help_tells_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    run_command("label", ["--help"])
    told = capsys.readouterr().out
    assert all(f"  {name}: " in told for name in ("input", "root", "output", "store", "again", "span_texts", "window"))
