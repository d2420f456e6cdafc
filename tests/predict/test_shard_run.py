"""Several files: each gets answers of its own, whole or not at all, as the command gives for that file alone."""

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.note_files import write_notes

from clinlm.config.errors import ConfigError, DataError, MissingExtraError
from clinlm.files.json_lines import read_objects
from clinlm.predict.model_answerer import predict_files
from clinlm.predict.predict import predict_command
from clinlm.predict.settings import PredictSettings
from clinlm.predict.shard_run import ShardTotals

Run, Notes = Callable[..., Any], Sequence[tuple[str, str]]


class Killed(BaseException):
    """A process that ends at once, as far as files can tell."""


@pytest.fixture
def inputs(tmp_path: Path, notes: Notes) -> Path:
    """Files of several kinds and folders, one of which has records that are none."""
    folder = tmp_path / "notes"
    (folder / "b").mkdir(parents=True)
    short = [note for note in notes if len(note[1]) < 2_000]
    for number, name in enumerate(("part-1.jsonl", "part-2.jsonl", "part-10.jsonl.gz", "b/part-1.jsonl")):
        write_notes(short[number * 6 : number * 6 + 6], folder / name)
    with (folder / "part-2.jsonl").open("a") as file:
        file.write('{"id": "x", "text": ""}\n[]\n')
    return folder


@pytest.fixture
def files(model_folder: Path, tmp_path: Path) -> Callable[..., ShardTotals]:
    """Return what answers several files in this process."""

    def answered(input: Path, **settings: Any) -> ShardTotals:
        told = {"artifact": model_folder, "window": 16, "batch_tokens": 128, "threads": 1}
        told |= {"input": input, "output": tmp_path / "answers"} | settings
        return predict_files(PredictSettings.of([f"{key}={value}" for key, value in told.items()]))

    return answered


def written(folder: Path) -> dict[str, bytes]:
    """Return all answers and rejects of a folder, and nothing that is there for clinlm alone."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith(("_progress", "."))}


def test_every_file_is_answered_as_if_it_were_alone(
    inputs: Path, files: Callable[..., ShardTotals], run: Run, tmp_path: Path
) -> None:
    done = files(inputs / "**/*.jsonl*")
    assert (done.files, done.fresh, done.done.documents, done.done.rejects) == (4, 4, 24, 2)
    found = written(tmp_path / "answers")
    assert {*found} == {
        *("part-1.jsonl", "part-2.jsonl", "part-10.jsonl", "b/part-1.jsonl"),
        "_rejects/part-2.jsonl.jsonl",
    }
    (tmp_path / "alone").mkdir()
    for name in ("part-2.jsonl", "part-10.jsonl.gz", "b/part-1.jsonl"):
        out = tmp_path / "alone" / name.replace("/", "-").removesuffix(".gz")
        run(inputs / name, out)
        assert found[name.removesuffix(".gz")] == out.read_bytes()
    alone = tmp_path / "alone/part-2.jsonl.rejects.jsonl"
    assert found["_rejects/part-2.jsonl.jsonl"] == alone.read_bytes()


def test_what_is_done_stays_and_new_files_are_added(
    inputs: Path, files: Callable[..., ShardTotals], notes: Notes, tmp_path: Path
) -> None:
    assert files(inputs).files == 3, "a folder is its own files"
    first = tmp_path / "answers/part-1.jsonl"
    when = first.stat().st_mtime_ns
    again = files(inputs)
    assert (again.fresh, again.done.documents, again.done.complete) == (0, 18, True)
    write_notes(notes[-5:], inputs / "rejects.jsonl")
    (tmp_path / "answers/part-2.jsonl").unlink()
    more = files(inputs)
    assert (more.files, more.fresh, more.done.documents, more.done.rejects) == (4, 2, 23, 2)
    assert first.stat().st_mtime_ns == when


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_a_run_that_ends_at_any_rename_loses_nothing_and_shows_nothing_half_written(
    inputs: Path, files: Callable[..., ShardTotals], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    files(inputs, output=tmp_path / "whole")
    expected, kept = written(tmp_path / "whole"), getattr(os, call)
    answers, ended = tmp_path / "answers", 0
    for calls in (1, 3, 5, 6, 7, 8, 9, 12, 14, 17, 20, 23):
        left = [calls]

        def ending(*arguments: Any, left: list[int] = left) -> Any:
            left[0] -= 1
            if left[0] <= 0:
                raise Killed
            return kept(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(os, call, ending)
            patch.setattr(shutil, "rmtree", lambda *_, **__: None)
            try:
                files(inputs)
            except Killed:
                ended += 1
        found = {name: own for name, own in written(answers).items() if not name.startswith("_attempts")}
        assert found.items() <= expected.items(), "whole, or not there"
    assert ended >= 6
    assert files(inputs).done.complete and written(answers) == expected


def test_answers_of_other_settings_files_or_people_are_not_mixed(
    inputs: Path, files: Callable[..., ShardTotals], shadow_folder: Path, tmp_path: Path
) -> None:
    files(inputs)
    before = written(tmp_path / "answers")
    for other, told in (({"artifact": shadow_folder}, "artifact"), ({"window": 3}, r"window \(16 before, 3 now\)")):
        with pytest.raises(ConfigError, match=f"was begun with another {told}; set it back"):
            files(inputs, **other)
    (tmp_path / "answers/_progress.json").unlink()
    with pytest.raises(ConfigError, match="must not overwrite files, but .*answers already exists"):
        files(inputs)
    with pytest.raises(ConfigError, match="must be different files"):
        files(inputs, output=inputs)
    shutil.rmtree(tmp_path / "answers/_progress")
    files(inputs, output=tmp_path / "other")
    with (inputs / "part-1.jsonl").open("a") as file:
        file.write('{"text": "one more"}\n')
    with pytest.raises(ConfigError, match=r"another input \([\d,]+ bytes before, [\d,]+ now\)"):
        files(inputs, output=tmp_path / "other")
    assert written(tmp_path / "answers") == before


def test_a_file_that_cannot_be_read_does_not_stop_the_others(
    inputs: Path, files: Callable[..., ShardTotals], tmp_path: Path
) -> None:
    (inputs / "part-2.jsonl").rename(tmp_path / "kept")
    (inputs / "part-2.jsonl").mkdir()  # opens as no file
    (inputs / "part-2.csv").write_text("id,words\n1,a\n")
    for name in ("part-1.jsonl", "part-10.jsonl.gz"):
        notes = list(read_objects(inputs / name)) if not name.endswith(".gz") else [{"id": "z", "text": "fever"}]
        write_notes([(str(note["id"]), str(note["text"])) for note in notes], inputs / f"{name.split('.')[0]}.csv")
    with pytest.raises(DataError, match=r"got 1 of 3 without answers.*part-2\.csv: the table must have .*'text'"):
        files(inputs / "*.csv")
    assert {*written(tmp_path / "answers")} == {"part-1.csv", "part-10.csv"}
    (inputs / "part-2.csv").write_text("id,text\n1,a fever\n")
    assert files(inputs / "*.csv").fresh == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["output=answers.jsonl"], "output a folder where every file gets answers of its own"),
        (["output=-", "rejects=r"], "output a folder where every file gets answers of its own"),
        (["shadow=other"], "shadow compares two models on one file"),
        (["on=flink"], "on must be one of ray, spark, or null for this machine, got 'flink'"),
        (["input=-", "on=ray"], "input must be files"),
        (["input=notes/*.csv"], r"a pattern of names, got .*notes/\*\.csv, which does not exist; set input to one"),
        (["input=twice/*.jsonl*"], "must differ in more than their endings, got two for part-1.jsonl"),
    ],
)
def test_what_several_files_cannot_be_is_refused(
    inputs: Path, words: list[str], told: str, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "twice").mkdir()
    for name in ("part-1.jsonl", "part-1.jsonl.gz"):
        write_notes([("1", "fever")], tmp_path / "twice" / name)
    given = [f"artifact={model_folder}", "input=notes", "output=answers", "threads=1"]
    with pytest.raises(ValueError, match=told):
        predict_files(PredictSettings.of([*given, *words]))
    assert not (tmp_path / "answers").exists() or not written(tmp_path / "answers")


def test_ray_is_named_with_its_extra_where_it_is_missing(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    given = [f"artifact={tmp_path}", f"input={inputs}", f"output={tmp_path / 'answers'}", "on=ray"]
    with pytest.raises(MissingExtraError, match=r"needs the library ray; .*pip install 'clinlm\[ray\]'"):
        predict_command(given)
