"""What clinlm-predict refuses, and what it says: the law, what came, what to do; never a word of a note."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from omegaconf import OmegaConf

from clinlm.cli.main import run_command
from clinlm.config.errors import DataError
from clinlm.predict.durable_file import open_private
from clinlm.predict.settings import PREDICT_YAML, PredictSettings
from clinlm.store.content import with_digest

ROOT = Path(__file__).parents[2]
SECRET = "Mrs. Zyxwvut of 12 Qwertz Lane"
Run, Notes = Callable[..., Any], Sequence[tuple[str, str]]
GIVEN = ("artifact=a", "input=notes.csv", "output=out.csv")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["inptu=notes.csv"], "unknown setting 'inptu'; did you mean input"),
        (["notes.csv"], "arguments must be KEY=VALUE, got 'notes.csv'"),
        (["artifact=a", "output=out.csv"], "missing required setting: input; add input=VALUE"),
        ([*GIVEN, "output=answers.txt"], r"\.jsonl, \.csv, \.parquet, or be - .*got answers\.txt"),
        ([*GIVEN, "window=0"], "window must be >= 1, got 0"),
        ([*GIVEN, "threads=two"], "threads must be a whole number, got 'two'"),
        ([*GIVEN, "output=notes.csv"], "input, output and rejects must be different files"),
        ([*GIVEN, "rejects=out.csv"], "input, output and rejects must be different files"),
        ([*GIVEN, "output=-"], "add rejects=FILE.jsonl"),
        ([*GIVEN, "text=null"], "text must have a value, got null"),
    ],
)
def test_a_setting_that_breaks_its_law_says_so(arguments: list[str], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        PredictSettings.of(arguments)


def test_a_value_is_taken_as_it_stands() -> None:
    found = PredictSettings.of(
        ["artifact=x", "input=a (1), b=c.csv", "output=-", "rejects=r.jsonl", "id=007", "threads=null"]
    )
    assert (str(found.input), found.id) == ("a (1), b=c.csv", "007") and found.threads >= 1


def test_the_help_names_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    run_command("predict", ["--help"])
    printed = capsys.readouterr().out
    assert all(f"\n  {key}: " in printed for key in OmegaConf.load(PREDICT_YAML))


@pytest.mark.parametrize("change", ["artifact", "shadow", "window", "batch_tokens", "text", "input"])
def test_a_run_goes_on_only_with_what_it_was_begun_with(
    tmp_path: Path, run: Run, notes: Notes, write_notes: Any, shadow_folder: Path, change: str
) -> None:
    path, output = write_notes(notes[-20:], tmp_path / "notes.jsonl"), tmp_path / "out.jsonl"
    run(path, output)
    before, when = output.read_bytes(), output.stat().st_mtime_ns
    assert run(path, output).documents == 20, "already complete"
    assert output.stat().st_mtime_ns == when
    other = {"artifact": shadow_folder, "shadow": shadow_folder, "window": 3, "batch_tokens": 5, "text": "id"}
    if change == "input":
        path.write_text(path.read_text() + '{"text": "one more"}\n')
    told = {
        "window": r"window \(16 before, 3 now\)",
        "input": r"input \([\d,]+ bytes before, [\d,]+ now\)",
        "batch_tokens": r"batch_tokens \(128 before, 5 now\)",
        "text": r"text \(text before, id now\)",
    }.get(change, change)
    with pytest.raises(ValueError, match=f"was begun with another {told}; .*delete the output"):
        run(path, output, **({change: other[change]} if change in other else {}))
    assert output.read_bytes() == before


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.rejects.jsonl"])
def test_no_file_is_overwritten(tmp_path: Path, run: Run, notes: Notes, write_notes: Any, name: str) -> None:
    path = write_notes(notes[-3:], tmp_path / "notes.jsonl")
    (tmp_path / name).write_text("mine")
    with pytest.raises(ValueError, match=f"must not overwrite files, .*{name} already exists; delete it"):
        run(path, tmp_path / "out.jsonl")
    assert (tmp_path / name).read_text() == "mine" and len(list(tmp_path.iterdir())) == 2


def test_an_output_that_was_tampered_with_is_not_gone_on_with(
    tmp_path: Path, run: Run, notes: Notes, write_notes: Any
) -> None:
    path, output = write_notes(notes[-20:], tmp_path / "notes.jsonl"), tmp_path / "out.jsonl"
    run(path, output)
    journal = tmp_path / "out.jsonl.progress.json"
    facts = {name: own for name, own in json.loads(journal.read_text()).items() if name != "digest"}
    unfinished, whole = (json.dumps(with_digest(facts | {"complete": own}, journal.name)) for own in (False, True))
    journal.write_text(unfinished)
    assert run(path, output).documents == 20
    output.write_bytes(output.read_bytes()[:-1])
    journal.write_text(unfinished)
    with pytest.raises(ValueError, match="bytes that were written, got .*; delete it"):
        run(path, output)
    for damaged in (unfinished[:50], unfinished.replace("false", "true"), unfinished.replace('"documents"', '"notes"')):
        journal.write_text(damaged)
        with pytest.raises(ValueError, match="is damaged; delete the output"):
            run(path, output)
    journal.write_text(whole)
    output.unlink()
    with pytest.raises(ValueError, match="the run is complete, but there is no"):
        run(path, output)


def test_one_process_writes_an_output(tmp_path: Path, run: Run, notes: Notes, write_notes: Any) -> None:
    path = write_notes(notes[-3:], tmp_path / "notes.jsonl")
    with FileLock(tmp_path / ".out.jsonl.lock"), pytest.raises(ValueError, match="another process is writing"):
        run(path, tmp_path / "out.jsonl")


def test_files_and_folders_that_are_not_there(tmp_path: Path, run: Run, notes: Notes, write_notes: Any) -> None:
    path = write_notes(notes[-3:], tmp_path / "notes.jsonl")
    with pytest.raises(FileNotFoundError, match="set input to the file"):
        run(tmp_path / "other.csv", tmp_path / "out.csv")
    with pytest.raises(FileNotFoundError, match="make it first"):
        run(path, tmp_path / "nowhere/out.csv")
    with pytest.raises(
        FileNotFoundError, match="an artifact or deployment must have a serving.json, .* has none; set the path to one"
    ):
        run(path, tmp_path / "out.csv", artifact=tmp_path)
    with pytest.raises(ValueError, match=r"input must end in \.csv"):
        run(path.rename(tmp_path / "notes.txt"), tmp_path / "out.csv")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"input": "missing.csv"}, "missing.csv"),
        ({"output": "nowhere/out.csv"}, "make it first"),
        ({"text": "note"}, "note"),
        ({"artifact": "missing"}, "folder of an artifact"),
    ],
)
def test_a_wrong_path_or_column_is_reported_before_torch_is_imported(
    tmp_path: Path, wrong: dict[str, str], message: str
) -> None:
    (tmp_path / "notes.csv").write_text("id,text\n1,a\n")
    settings = {"artifact": str(tmp_path), "input": "notes.csv", "output": "out.csv"} | wrong
    arguments = [f"{key}={value}" for key, value in settings.items()]
    code = (
        "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules)); from clinlm.cli.main import main"
    )
    found = subprocess.run(
        [sys.executable, "-c", f"{code}; main()", "predict", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert found.returncode == 1 and message in found.stderr and found.stdout == "False\n", found.stderr


def test_a_shadow_knows_the_same_labels_in_the_same_order(
    tmp_path: Path, run: Run, notes: Notes, write_notes: Any, save_artifact: Callable[..., Path], model_folder: Path
) -> None:
    path = write_notes(notes[-3:], tmp_path / "notes.jsonl")
    other = save_artifact(3, labels=("gout", "flu", "asthma", "fracture"))
    with pytest.raises(ValueError, match="same labels in the same order; .* 4 of them are in both"):
        run(path, tmp_path / "out.csv", shadow=other)
    joined = save_artifact(4, labels=("a;b", "c", "d", "e"))
    with pytest.raises(ValueError, match="must not contain ';' in CSV.*got 'a;b'"):
        run(path, tmp_path / "other.csv", artifact=joined)


def clinlm_predict(folder: Path, *arguments: str, input: str = "") -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(ROOT), "CI": "true", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "clinlm", "predict", *arguments],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"} | environment,
        input=input,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_no_word_of_a_note_leaves(
    tmp_path: Path,
    model_folder: Path,
    shadow_folder: Path,
    answers: Any,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Planted in notes and in everything that is none: read from standard input, answered to a file and to a pipe."""
    lines = [json.dumps({"id": n, "text": f"{SECRET} has a fever"}) for n in range(4)]
    lines += [json.dumps({"id": f"{SECRET}\n", "text": "a"}), json.dumps({"id": 9, "text": [SECRET]}), f'{{"{SECRET}"']
    lines += [json.dumps(SECRET), f'{{"text": "\\x {SECRET}"}}', json.dumps({"id": {SECRET: 1}, "text": SECRET})]
    (tmp_path / "run").mkdir()
    settings = [f"artifact={model_folder}", f"shadow={shadow_folder}", "input=-", "window=3"]
    arguments = [*settings, "output=-", "rejects=rejects.jsonl"]
    piped = clinlm_predict(tmp_path / "run", *arguments, input="\n".join(lines))
    assert piped.returncode == 0, piped.stderr
    assert [json.loads(line)["id"] for line in piped.stdout.splitlines()] == list("0123"), "answers and nothing else"
    assert "documents  4" in piped.stderr and "rejects    6" in piped.stderr
    assert len(answers(tmp_path / "run/rejects.jsonl")) == 6

    (tmp_path / "notes.csv").write_text(f'id,text\n1,"{SECRET}"\n2,{SECRET},x\n3,"{SECRET}" {SECRET}\n')
    monkeypatch.chdir(tmp_path / "run")
    settings = [f"artifact={model_folder}", "input=../notes.csv"]
    run_command("predict", [*settings, "output=out.parquet"])
    with pytest.raises(SystemExit):
        run_command("predict", [*settings, "output=other.csv", "text=note"])
    (tmp_path / "none.jsonl").write_text(f'{{"text": ["{SECRET}"]}}\n' * 2)
    with pytest.raises(SystemExit) as failed:
        run_command("predict", [settings[0], "input=../none.jsonl", "output=none.csv"])
    assert failed.value.code == 1
    printed = "".join(capfd.readouterr())
    assert "clinlm predict: the table must have the column 'note'" in printed
    assert "documents  1" in printed and "rejects    2" in printed
    assert "got no answer for 2 of 2 (2 times: the text must be a string, got a list)" in printed
    everything = piped.stdout + piped.stderr + printed + caplog.text
    everything += "".join(path.read_bytes().decode(errors="replace") for path in (tmp_path / "run").iterdir())
    assert not [word for word in SECRET.split() if len(word) > 4 and word in everything]


def test_a_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody but its owner can change its rights."""
    path = tmp_path / "answers.jsonl"
    path.write_bytes(b"theirs")

    def denied(self: Path, mode: int) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", denied)
    with pytest.raises(DataError, match="must be yours, so that nobody else reads"):
        open_private(path)
    assert path.read_bytes() == b"theirs"
