"""The command `clinlm store`: what it prints, refuses, and leaves out."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from clinlm.cli.store import store_command
from clinlm.config.errors import ClinlmError, ConfigError, MissingFileError, ModelError
from clinlm.pipeline.protocol import PROTOCOLS
from clinlm.store.content import USES, claim, read_record, seal, used_by, write_digested, write_json
from clinlm.tasks.base import NOT_RELEASED

TASK, TFIDF, INT8 = "task-aaaa00000001", "tfidf-aaaa00000002", "tfidf_int8-aaaa00000003"
TEACHER, STUDENT, PRUNE = "teacher-bbbb00000001", "student-bbbb00000002", "prune-bbbb00000003"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of a month ago: a run needs the student and its lineage, nobody needs what is pruned."""
    monkeypatch.chdir(tmp_path)
    root = Path("outputs/store")
    root.mkdir(parents=True)
    of_task = {"task": "aaaa00000001"}
    learned = {"start": "bbbb00000001", "teachers": ["bbbb00000001", "cccc00000002"]}
    with used_by(Path("outputs/runs/gone"), root):
        stored(root, TASK, {})
        stored(root, TFIDF, {"key": TFIDF}, {"logits/train-cccc00000002.safetensors": ""})
        stored(root, INT8, {"key": INT8, **of_task})
        stored(root, TEACHER, {"stage": "teacher", "parents": {"start": None, "teachers": []}, **of_task})
        stored(root, STUDENT, {"stage": "student", "parents": learned, **of_task})
        stored(root, PRUNE, {"stage": "prune", "parents": {"start": "bbbb00000001", "teachers": []}, **of_task})
    run = Path("outputs/sweeps/first/0")
    run.mkdir(parents=True)
    (run.parent / "multirun.yaml").touch()
    write_json(run / "run.json", {"stages": [{"folder": str(root.absolute() / STUDENT)}]})
    (root / PROTOCOLS).mkdir()
    write_digested(root / PROTOCOLS / f"{PRUNE}.json", {"margin": 0.02, "metric": "micro_f1"})
    for path in [*root.rglob("*")]:
        os.utime(path, (time.time() - 30 * 86_400,) * 2)
    return root


def stored(root: Path, name: str, facts: dict[str, Any], caches: dict[str, str] | None = None) -> None:
    folder = root / name
    with claim(folder):
        notices = {"notices": [], "note": "a word of a note"}
        (folder / "examples.json").write_text(json.dumps(notices), encoding="utf-8")
        seal(folder, {"key": name.rpartition("-")[2], **facts})
    for path, text in (caches or {}).items():
        (folder / path).parent.mkdir()
        (folder / path).write_text(text, encoding="utf-8")


def with_vocabulary(folder: Path, min_groups: int) -> None:
    """Give a stage a vocabulary in its report, and record that."""
    write_json(folder / "report.json", {"vocabulary": {"kept": 9, "rare": 0, "min_groups": min_groups}})
    record = read_record(folder)
    (folder / "record.json").unlink()
    seal(folder, {name: record[name] for name in record if name not in ("files", "format", "digest")})


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    store_command(words)
    return capsys.readouterr().out.splitlines()


def test_what_is_stored_is_listed_with_what_uses_it(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = {line.split()[0]: line for line in printed(capsys, "ls")}
    assert lines[STUDENT].split()[1] == "stage" and lines[STUDENT].endswith("outputs/sweeps/first")
    assert f"{TASK}, {TEACHER} and 1 more" in lines[STUDENT] and lines[TEACHER].endswith(STUDENT)
    assert lines[PRUNE].endswith("unused") and lines[TFIDF].endswith(STUDENT) and lines[INT8].endswith("unused")
    assert lines["used"].startswith("used by one run: 4 folders") and {*[*lines][-3:-1]} == {INT8, PRUNE}


def test_what_is_not_needed_is_shown_and_then_removed(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(store.rglob("[!.]*"))
    lines = printed(capsys, "gc")
    assert lines[0].startswith("runs without a folder: 1 (deleted, moved,")
    assert [line.split()[3] for line in lines if line.startswith("would be removed")] == [INT8, PRUNE]
    assert lines[-1].startswith("can be removed: 2 folders (") and "confirm=true" in lines[-1]
    assert sorted(store.rglob("[!.]*")) == before and len([*(store / USES).iterdir()]) == 1
    assert printed(capsys, "gc", "confirm=true")[-1].startswith("removed: 2 folders (")
    assert {path.name for path in store.glob("[!.]*-*")} == {TASK, TFIDF, TEACHER, STUDENT}
    protocol = json.loads((store / PROTOCOLS / f"{PRUNE}.json").read_text(encoding="utf-8"))
    assert protocol["known"] and protocol["margin"] == 0.02 and not [*(store / USES).iterdir()]
    assert printed(capsys, "gc", "confirm=true")[-1] == "removed: 0 folders (0.0 kB)"


def test_without_a_run_nothing_is_removed(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.replace("outputs/sweeps", "sweeps")
    with pytest.raises(ConfigError, match="got none there"):
        store_command(["gc", "confirm=true"])
    with pytest.raises(MissingFileError, match="runs must be folders, got nowhere"):
        store_command(["gc", "runs=sweeps,nowhere"])
    assert "can be removed: 2 folders" in printed(capsys, "gc", "runs=sweeps")[-1]
    Path("runs").mkdir()
    for name, target in (("first", "../sweeps/first"), ("loop", ".")):  # on another disk
        (Path("runs") / name).symlink_to(target, target_is_directory=True)
    assert "can be removed: 2 folders" in printed(capsys, "gc", "runs=runs")[-1]
    assert "can be removed: 6 folders" in printed(capsys, "gc", "runs=none")[-1]
    assert "can be removed: 0 folders" in printed(capsys, "gc", "runs=none", "days=31")[-1]


def test_a_store_that_cannot_be_written_is_not_told_to_be_in_use(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clinlm.cli.store.writable", lambda folder: False)
    with pytest.raises(ConfigError, match="must be a folder that you may write"):
        store_command(["gc"])


def test_damage_is_named_and_is_an_error(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "verify")[-1].startswith("6 folders are as they were made, 0 of them without")
    (store / TEACHER / "examples.json").write_text("other", encoding="utf-8")
    os.replace(store / PRUNE, store / "prune-bbbb00000009")
    os.replace(store / TASK, "task")
    with pytest.raises(ModelError, match="got 2 of 5 folders"):
        store_command(["verify"])
    lines = capsys.readouterr().out
    assert f"{TEACHER}/examples.json is not the file that was recorded" in lines
    assert "prune-bbbb00000009 holds what was made for prune-bbbb00000003" in lines
    assert "made from aaaa00000001, which the store does not have" in lines


def test_notes_stay_and_so_does_what_an_agreement_forbids(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, "export", "bbbb00000002", "output=a.tar")
    assert [line.split()[1] for line in lines[:2]] == [TEACHER, STUDENT] and lines[-1].startswith("written")
    assert {line.split()[2] for line in lines if line.startswith("left out")} == {TASK, TFIDF}
    assert b"aaaa00000001/examples.json" not in Path("a.tar").read_bytes()
    with pytest.raises(ConfigError, match=f"no terms of single patients, got {TFIDF}; notes=true"):
        store_command(["export", TFIDF, "output=b.tar"])
    assert printed(capsys, "export", INT8, "output=int8.tar")[0].split()[1] == INT8
    stored(store, f"{INT8[:-1]}9", {"key": f"{INT8[:-1]}9", "task": "aaaa00000009"})
    with pytest.raises(ConfigError, match=f"got {INT8[:-1]}9: its task is not in the store"):
        store_command(["export", f"{INT8[:-1]}9", "output=b.tar"])
    everything = printed(capsys, "export", STUDENT, TASK, "output=all.tar", "notes=true", "restricted=true")
    assert [line.split()[1] for line in everything[:4]] == [TASK, TEACHER, TFIDF, STUDENT]
    notices = json.dumps({"notices": [NOT_RELEASED]})
    (store / TASK / "examples.json").write_text(notices, encoding="utf-8")
    for words in (["output=b.tar"], ["output=b.tar", "notes=true"]):
        with pytest.raises(ConfigError, match="data use agreement of these notes forbids .* restricted=true"):
            store_command(["export", STUDENT, *words])
    assert not Path("b.tar").exists()
    lines = printed(capsys, "import", "a.tar", "store=other")
    assert [line.split() for line in lines] == [["imported", f"other/{TEACHER}"], ["imported", f"other/{STUDENT}"]]
    assert printed(capsys, "import", "a.tar", "store=other") == [line.replace("imported", "is there") for line in lines]
    assert "2 of them without" in printed(capsys, "verify", "store=other")[-1]


def test_terms_of_single_patients_stay(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A vocabulary learnt with task.min_groups=1, and what inherits it."""
    with_vocabulary(store / TEACHER, 1)
    for name in (TEACHER, STUDENT):
        with pytest.raises(ConfigError, match=f"no terms of single patients, got {name}"):
            store_command(["export", name, "output=b.tar"])
    assert printed(capsys, "export", TEACHER, "output=b.tar", "notes=true")[-1].startswith("written")
    with_vocabulary(store / TEACHER, 5)
    assert printed(capsys, "export", STUDENT, "output=c.tar")[-1].startswith("written")
    write_json(store / TEACHER / "report.json", {})
    with pytest.raises(ModelError, match="is not the file that was recorded"):
        store_command(["export", STUDENT, "output=d.tar"])
    os.replace(store / TEACHER, "teacher")
    with pytest.raises(ConfigError, match=f"no terms of single patients, got {PRUNE}"):
        store_command(["export", PRUNE, "output=d.tar", "restricted=true"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lss"], "one of ls, verify, gc, export, import, got 'lss'; did you mean ls"),
        (["gc", "day=1"], "unknown setting 'day'; did you mean days"),
        (["gc", "days=soon"], "days must be a number >= 0, got 'soon'"),
        (["gc", "confirm=yes"], "confirm must be true or false, got 'yes'"),
        (["ls", "teacher"], "needs settings only, KEY=VALUE, got teacher"),
        (["ls", "store=nowhere"], "store must be a folder, got nowhere"),
        (["export", "output=a.tar"], "needs KEYs, got none"),
        (["export", STUDENT], "missing required setting: output"),
        (["export", "outputs/runs", "output=a.tar"], "KEYs must be of folders in outputs/store"),
        (["import", "a.tar", "b.tar"], "needs one FILE, got a.tar, b.tar"),
        (["import", "a.tar", "store=new"], "FILE must be one of clinlm store export, got a.tar"),
    ],
)
def test_mistakes_say_what_must_hold(words: list[str], message: str, store: Path) -> None:
    Path("outputs/runs").mkdir()
    with pytest.raises(ClinlmError) as raised:
        store_command(words)
    assert message in str(raised.value) and not Path("new").exists()
