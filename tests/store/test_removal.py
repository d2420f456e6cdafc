"""What a store needs for its runs stays, and everything else that is old enough goes."""

import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinlm.config.errors import DataError
from clinlm.store.content import USES, claim, seal, used_by, verified, write_json
from clinlm.store.inventory import Inventory
from clinlm.store.key import digest
from clinlm.store.locks import locked
from clinlm.store.removal import remove_entries, unneeded

DAY_S = 86_400
LONG_AGO = time.time() - 30 * DAY_S


def stored(root: Path, name: str, facts: Mapping[str, Any], days: float = 30) -> Path:
    """Make a complete folder of a store that was used `days` ago."""
    folder = root / name
    with claim(folder):
        (folder / "model.safetensors").write_bytes(name.encode())
        seal(folder, {"key": name.rpartition("-")[2], **facts})
    return aged(folder, days)


def aged(folder: Path, days: float) -> Path:
    when = time.time() - days * DAY_S
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (when, when))
    return folder


def collected(root: Path, runs: Path, days: float = 1) -> set[str]:
    """Remove what can be removed; return the names of what remains."""
    inventory = Inventory.read(root, [runs])
    assert all(path.exists() for path in root.iterdir())
    removed = {entry.path.name for entry, free in remove_entries(inventory, unneeded(inventory, days), True) if free}
    there = {path.name for path in root.iterdir() if not path.name.startswith(".") and path.name != USES}
    assert there == inventory.entries.keys() - removed
    return there


@dataclass(frozen=True)
class _Graph:
    """A store: parents of every stage (earlier ones), days since it was used, stages of the runs, runs deleted."""

    parents: list[list[int]]
    days: list[float]
    runs: list[list[int]]
    deleted: list[bool]
    noted: list[bool]

    def kept(self) -> set[int]:
        """Return what must stay, by repeating one step until nothing changes."""
        kept = {own for run, gone in zip(self.runs, self.deleted, strict=True) if not gone for own in run}
        kept |= {own for own, days in enumerate(self.days) if days < 1}
        while True:
            more = kept.union(*(self.parents[own] for own in kept))
            if more == kept:
                return kept
            kept = more


@st.composite
def graphs(draw: st.DrawFn) -> _Graph:
    count = draw(st.integers(1, 8))
    parents = [draw(st.lists(st.integers(0, own - 1), max_size=3, unique=True)) if own else [] for own in range(count)]
    several = draw(st.lists(st.lists(st.integers(0, count - 1), max_size=3, unique=True), max_size=4))
    flags = st.lists(st.booleans(), min_size=len(several), max_size=len(several))
    days = draw(st.lists(st.sampled_from([0.2, 3.0]), min_size=count, max_size=count))
    return _Graph(parents, days, several, draw(flags), draw(flags))


@settings(max_examples=25)
@given(graphs())
def test_what_remains_is_the_lineage_of_every_run_and_nothing_else(graph: _Graph) -> None:
    with tempfile.TemporaryDirectory() as place:
        root, runs = Path(place) / "store", Path(place) / "outputs"
        keys = [digest(number) for number in range(len(graph.parents))]
        names = [f"{'student' if number % 2 else 'teacher'}-{key}" for number, key in enumerate(keys)]
        for number, name in enumerate(names):
            first, *others = [keys[parent] for parent in graph.parents[number]] or [None]
            parents = {"start": first, "teachers": others}
            stored(root, name, {"stage": name.rpartition("-")[0], "parents": parents}, graph.days[number])
        for number, (used, gone, noted) in enumerate(zip(graph.runs, graph.deleted, graph.noted, strict=True)):
            run = Path(place) / "elsewhere" / str(number) if noted else runs / "sweeps" / "x" / str(number)
            run.mkdir(parents=True)
            if noted:  # nothing of it is where gc looks: the store knows
                with used_by(run, root):
                    for stage in used:
                        with claim(root / names[stage]) as whole:
                            assert whole
                        aged(root / names[stage], graph.days[stage])
            else:
                write_json(run / "run.json", {"stages": [{"folder": str(root / names[stage])} for stage in used]})
            if gone:
                for path in run.iterdir():
                    path.unlink()
                run.rmdir()
        assert collected(root, runs) == {names[own] for own in graph.kept()}
        for path in root.glob("[!.]*-*"):
            verified(path)


def test_everything_that_a_stage_was_made_from_stays(tmp_path: Path) -> None:
    """Also what its record names by another key, or by settings: TF-IDF as a teacher, a transfer set, a deployment."""
    root, runs = tmp_path / "store", tmp_path / "outputs"
    task, other = "aaaa00000001", "aaaa00000002"
    settings = {"augmentation": {"_target_": "x.Mix", "ratio": 2, "root": "/elsewhere"}}
    kept = {"ratio": 2, "_target_": "x.Mix"}
    for key in (task, other):
        stored(root, f"task-{key}", {})
        stored(root, f"transfer-bbbb{key[4:]}", {"task": key, "settings": kept})
    for name, logits in (("tfidf-cccc00000001", "train-dddd00000001"), ("tfidf-cccc00000002", "train-dddd00000002")):
        folder = stored(root, name, {"key": name})
        (folder / "logits").mkdir()
        (folder / "logits" / f"{logits}.safetensors").touch()
        aged(folder, 30)
    parents = {"start": None, "teachers": ["dddd00000001"]}
    facts = {"stage": "student", "task": task, "parents": parents, "settings": settings}
    stored(root, "student-eeee00000001", facts)
    stored(root, "student-onnxruntime-ffff00000001", {"artifact": "eeee00000001", "engine": "onnxruntime"})
    stored(root, "student-openvino-ffff00000002", {"artifact": "eeee00000001", "engine": "openvino"})
    (runs / "runs/one").mkdir(parents=True)
    write_json(runs / "runs/one/table.json", {"folder": str(root / "student-onnxruntime-ffff00000001")})
    assert collected(root, runs) == {
        *(f"task-{task}", "transfer-bbbb00000001", "tfidf-cccc00000001", "student-eeee00000001"),
        "student-onnxruntime-ffff00000001",
    }


def test_what_is_locked_set_aside_or_of_others(tmp_path: Path) -> None:
    root, runs = tmp_path / "store", tmp_path / "outputs"
    runs.mkdir()
    parent = stored(root, "teacher-aaaa00000001", {"stage": "teacher"})
    child = stored(root, "student-aaaa00000002", {"stage": "student", "parents": {"start": "aaaa00000001"}})
    damaged, stopped = root / "student-aaaa00000003.damaged-123", root / "teacher-aaaa00000004"
    killed, imported = root / ".student-aaaa00000005.removed-123", root / ".import-x"
    (root / "labels-aaaa00000006").mkdir()
    (root / ".labels-aaaa00000006.lock").touch()
    with claim(stopped):
        (stopped / "last.ckpt").write_bytes(b"weights")
    mine = [root / "notes", root / "notes-aaaa00000007", root / "code.json", root / "protocols", root / "readme.txt"]
    for folder in (damaged, killed, imported, mine[0], mine[1], mine[3]):
        folder.mkdir()
    for file in (mine[2], mine[4], damaged / "record.json", killed / "x", imported / "x"):
        file.write_text("{}", encoding="utf-8")
    link = root / "teacher-aaaa00000008"
    link.symlink_to(mine[0], target_is_directory=True)
    for path in root.glob("*-*"):
        aged(path, 30)
    (child / "logits").mkdir()
    aged(child, 30)
    with locked(child / "logits" / "test.safetensors"):  # its logits are computed now
        aged(child, 30)
        inventory = Inventory.read(root, [runs])
        found = {entry.path.name: free for entry, free in remove_entries(inventory, unneeded(inventory, 1), True)}
    gone = {own.name: True for own in (damaged, stopped, killed, imported)}
    assert found == {child.name: False, parent.name: False, **gone}
    assert child.is_dir() and parent.is_dir() and all(path.exists() for path in (*mine, link))
    assert not any(path.exists() for path in (damaged, stopped, killed, imported))
    aged(child, 30)
    with locked(parent):
        inventory = Inventory.read(root, [runs])
        assert [free for _, free in remove_entries(inventory, unneeded(inventory, 1), True)] == [True, False]
    assert not child.exists() and parent.is_dir() and (root / "labels-aaaa00000006").is_dir()


def test_a_folder_that_is_claimed_meanwhile_stays(tmp_path: Path) -> None:
    root = tmp_path / "store"
    folder = stored(root, "teacher-aaaa00000001", {"stage": "teacher"})
    inventory = Inventory.read(root, [])
    found = unneeded(inventory, 1)
    with claim(folder) as whole:
        assert whole
    assert [(entry.path, free) for entry, free in remove_entries(inventory, found, True)] == [(folder, False)]
    assert not unneeded(Inventory.read(root, []), 1), "it was used now"


def test_to_look_changes_nothing(tmp_path: Path) -> None:
    root = tmp_path / "store"
    folder = stored(root, "teacher-aaaa00000001", {"stage": "teacher"})
    (folder / "logits").mkdir()
    (folder / "logits" / ".test.safetensors.lock").touch()
    aged(folder, 30)
    for _ in range(3):
        inventory = Inventory.read(root, [])
        looked = [*remove_entries(inventory, unneeded(inventory, 1), False)]
        assert [(entry.path, free) for entry, free in looked] == [(folder, True)] and folder.is_dir()


def test_what_a_run_uses_must_be_known(tmp_path: Path) -> None:
    root = tmp_path / "store"
    with used_by(tmp_path, root), claim(root / "teacher-aaaa00000001"):
        pass
    (path,) = (root / USES).iterdir()
    assert Inventory.read(root, []).runs == {tmp_path: {"teacher-aaaa00000001"}}
    path.write_text(path.read_text(encoding="utf-8").replace("0001", "0002"), encoding="utf-8")
    with pytest.raises(DataError, match="is damaged; remove it"):
        Inventory.read(root, [])


def test_uses_that_cannot_be_read_are_not_taken_for_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a store that several people share: a folder of another one, who lets nobody in."""
    (tmp_path / USES).mkdir()
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != USES and allowed(path, mode))
    with pytest.raises(DataError, match="tells what other runs use, and cannot be read; ask its owner"):
        Inventory.read(tmp_path, ())


def test_what_a_stopped_run_used_is_known_until_its_folder_has_another_whole_run(tmp_path: Path) -> None:
    root, (first, second) = tmp_path / "store", ("teacher-aaaa00000001", "teacher-aaaa00000002")

    def run(name: str, fails: bool) -> set[str]:
        with suppress(KeyboardInterrupt), used_by(tmp_path / "run", root), claim(root / name):
            if fails:
                raise KeyboardInterrupt
        return Inventory.read(root, []).runs[tmp_path / "run"]

    (tmp_path / "run").mkdir()
    assert run(first, fails=True) == {first}
    assert run(second, fails=True) == {first, second}
    assert run(second, fails=False) == {second}
