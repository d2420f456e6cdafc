"""Attacks on the store: folders exchanged, emptied, linked or from the future; checkpoints and arrays of others."""

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clinlm.config.errors import DataError, ModelError
from clinlm.store.arrays import load_arrays, save_arrays
from clinlm.store.checkpoint import CHECKPOINT, drop_checkpoint, find_checkpoint, put_checkpoint
from clinlm.store.content import (
    FORMAT,
    RECORD,
    Damaged,
    claim,
    read_digested,
    seal,
    verified,
    verify,
    write_digested,
)
from clinlm.store.key import digest

NAMES = ("teacher-0123456789ab", "recover_teacher-ba9876543210")


def made(folder: Path, text: str) -> Path:
    """Build a stage's folder unless it is whole."""
    with claim(folder, ("weights", "part/report.json")) as whole:
        if not whole:
            (folder / "part").mkdir(exist_ok=True)
            (folder / "weights").write_text(text)
            (folder / "part" / "report.json").write_text(text)
            stage, _, key = folder.name.rpartition("-")
            seal(folder, {"key": key, "stage": stage})
    return folder


def rewritten(folder: Path, change: Callable[[dict[str, object]], object]) -> None:
    """Change a record, and give it the digest of what it then says: a forger can do that."""
    record = json.loads((folder / RECORD).read_text())
    del record["digest"]
    change(record)
    (folder / RECORD).write_text(json.dumps(record | {"digest": digest(record)}))


def exchange(one: Path, other: Path) -> None:
    """Let two folders exchange their names."""
    one.rename(one.with_name("third"))
    other.rename(one)
    one.with_name("third").rename(other)


def of_other(name: str, value: str) -> Callable[[Path, Path], None]:
    """Return an attack that writes another `name` into the record."""
    return lambda one, other: rewritten(one, lambda record: record.update({name: value}))


def link(part: str) -> Callable[[Path, Path], None]:
    """Return an attack that puts a link to the same content elsewhere in the place of a part of a folder."""

    def attack(one: Path, other: Path) -> None:
        own, away = one / part, one.parent / "elsewhere"
        (shutil.copytree if own.is_dir() else shutil.copy)(own, away)
        shutil.rmtree(own) if own.is_dir() else own.unlink()
        own.symlink_to(away)

    return attack


def replace_by_file(one: Path, other: Path) -> None:
    shutil.rmtree(one)
    one.write_bytes(b"no folder")


def replace_by_link(one: Path, other: Path) -> None:
    shutil.rmtree(one)
    one.symlink_to(other)


ATTACKS: dict[str, Callable[[Path, Path], object]] = {
    "exchanged": exchange,
    "copied over": lambda one, other: (shutil.rmtree(one), shutil.copytree(other, one)),
    "record of the other": lambda one, other: shutil.copy(other / RECORD, one / RECORD),
    "another key": of_other("key", "ba9876543210"),
    "another stage": of_other("stage", "student"),
    "no key": lambda one, other: rewritten(one, lambda record: record.pop("key")),
    "no files": lambda one, other: rewritten(one, lambda record: record.update(files={})),
    "without weights": lambda one, other: rewritten(one, lambda record: record["files"].pop("weights")),  # type: ignore[attr-defined]
    "an absolute name": lambda one, other: rewritten(
        one,
        lambda record: record["files"].update({str(other / "weights"): "0"}),  # type: ignore[attr-defined]
    ),
    "a name above": lambda one, other: rewritten(
        one,
        lambda record: record["files"].update({f"../{other.name}/weights": "0"}),  # type: ignore[attr-defined]
    ),
    "a file is a link": link("weights"),
    "a folder is a link": link("part"),
    "the record is a link": link(RECORD),
    "a link to the other": replace_by_link,
    "a file": replace_by_file,
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_folder_that_holds_anothers_is_set_aside_by_name_and_rebuilt(
    attack: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = (made(tmp_path / name, name) for name in NAMES)
    ATTACKS[attack](one, other)
    assert made(one, "again") == one and one.name in caplog.text and "built again" in caplog.text
    assert (one / "weights").read_text() == "again" and not one.is_symlink()
    assert verify(one)["stage"] == "teacher" and len([*tmp_path.glob("teacher-*.damaged-*")]) == 1


def test_a_folder_that_nobody_touched_is_reused(tmp_path: Path) -> None:
    assert [(made(tmp_path / name, text) / "weights").read_text() for name in NAMES for text in "ab"] == [*"aaaa"]


def test_a_copy_by_another_name_can_still_be_served(tmp_path: Path) -> None:
    copy = shutil.copytree(made(tmp_path / NAMES[0], "x"), tmp_path / "ours")
    assert verify(copy)["stage"] == "teacher"


def test_a_record_of_a_later_version_says_so_and_is_kept(tmp_path: Path) -> None:
    folder = made(tmp_path / NAMES[0], "x")
    rewritten(folder, lambda record: record.update(format=FORMAT + 1))
    with pytest.raises(ModelError, match="later version of clinlm") as raised, claim(folder):
        pass
    assert not isinstance(raised.value, Damaged) and (folder / "weights").exists()


def test_a_hidden_folder_in_an_unfinished_artifact_is_removed(tmp_path: Path) -> None:
    (tmp_path / NAMES[0] / ".ipynb_checkpoints" / "x").mkdir(parents=True)
    assert [path.name for path in made(tmp_path / NAMES[0], "x").glob(".*")] == []


def checkpointed(folder: Path, content: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / ".draft").write_bytes(content)
    put_checkpoint(folder / ".draft")
    return folder / CHECKPOINT


def test_a_checkpoint_is_found_as_it_was_put_also_after_another(tmp_path: Path) -> None:
    assert find_checkpoint(tmp_path) is None
    for content in (b"one", b"two"):
        assert checkpointed(tmp_path / NAMES[0], content).read_bytes() == content
        assert find_checkpoint(tmp_path / NAMES[0]) == tmp_path / NAMES[0] / CHECKPOINT
    drop_checkpoint(tmp_path / NAMES[0])
    assert [*(tmp_path / NAMES[0]).iterdir()] == []


def test_a_kill_between_digest_and_checkpoint_leaves_one_that_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / NAMES[0]
    checkpointed(folder, b"one")
    replace = os.replace

    def killed(source: Path, target: Path) -> None:
        if Path(target).name == CHECKPOINT:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr("clinlm.store.checkpoint.os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpointed(folder, b"two")
    assert find_checkpoint(folder) == folder / CHECKPOINT and (folder / CHECKPOINT).read_bytes() == b"one"


def flipped(one: Path, other: Path) -> None:
    content = bytearray(one.read_bytes())
    content[len(content) // 2] ^= 1
    one.write_bytes(content)


DAMAGE: dict[str, Callable[[Path, Path], object]] = {
    "a flipped bit": flipped,
    "cut": lambda one, other: one.write_bytes(one.read_bytes()[:-1]),
    "empty": lambda one, other: one.write_bytes(b""),
    "of another stage": lambda one, other: shutil.copy(other, one),
    "a link": lambda one, other: (one.unlink(), one.symlink_to(other)),
}


@pytest.mark.parametrize("damage", [*DAMAGE, "without digest", "another's with its digest"])
def test_a_wrong_checkpoint_is_set_aside_by_name(damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one, other = (checkpointed(tmp_path / name, name.encode() * 9) for name in NAMES)
    if damage == "without digest":
        one.with_name(f"{CHECKPOINT}.json").unlink()
    elif damage in DAMAGE:
        DAMAGE[damage](one, other)
    else:
        shutil.copytree(other.parent, one.parent, dirs_exist_ok=True)
    with caplog.at_level(logging.WARNING):
        assert find_checkpoint(one.parent) is None
    assert str(one) in caplog.text and [*one.parent.iterdir()] == []
    assert len([*tmp_path.glob(f"{NAMES[0]}.{CHECKPOINT}.damaged-*")]) == 1


@pytest.mark.parametrize("damage", [name for name in DAMAGE if name != "a link"])
@pytest.mark.parametrize("kind", ["tokens", "logits"])
def test_wrong_arrays_are_refused_by_name(damage: str, kind: str, tmp_path: Path) -> None:
    paths = [tmp_path / name / kind / "k.safetensors" for name in NAMES]
    arrays = {"tokens": np.arange(100), "empty": np.zeros((0, 3), np.float32), "one": np.array(2.5)}
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True)
        save_arrays(path, arrays | {"own": np.array([number])}, {"pad": "0"})
        read, facts = load_arrays(path)
        assert facts == {"pad": "0"} and all((read[name] == arrays[name]).all() for name in arrays)
    DAMAGE[damage](paths[0], paths[1])
    with pytest.raises(DataError, match=str(paths[0])):
        load_arrays(paths[0])


def test_arrays_without_a_digest_or_under_another_name_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"tokens": np.arange(3)}, tmp_path / "bare.safetensors")
    save_arrays(tmp_path / "one.safetensors", {"tokens": np.arange(3)})
    shutil.copy(tmp_path / "one.safetensors", tmp_path / "two.safetensors")
    for name in ("bare", "two"):
        with pytest.raises(DataError, match="not the file that was written there"):
            load_arrays(tmp_path / f"{name}.safetensors")


def test_a_folder_that_changes_after_it_was_claimed_is_found_by_who_reads_it_later(tmp_path: Path) -> None:
    one, other = (made(tmp_path / name, name) for name in NAMES)
    assert verified(one) == verified(one) == one
    flipped(one / "weights", other / "weights")
    with pytest.raises(Damaged, match="weights is not the file that was recorded; run its pipeline again"):
        verified(one)
    exchange(one, other)
    with pytest.raises(Damaged, match="holds what was made for"):
        verified(one)


def test_digested_json_is_read_as_it_was_written_there_or_refused(tmp_path: Path) -> None:
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    content = {"a": [1, 0.1, None], "b": {"2": "x", "10": "y"}}
    for path in (one, other):
        write_digested(path, content)
        assert read_digested(path) == content
    text = one.read_text()
    for damage in (other.read_text(), text.replace("0.1", "0.2"), text[:-3], "{}", "[]", ""):
        one.write_text(damage)
        with pytest.raises(DataError, match=str(one)):
            read_digested(one)


def test_arrays_are_the_same_bytes_whenever_they_are_written(tmp_path: Path) -> None:
    contents = set()
    for number in range(12):
        path = tmp_path / str(number) / "folder-key" / "tokens" / "own.safetensors"
        path.parent.mkdir(parents=True)
        save_arrays(
            path, {"tokens": np.arange(5, dtype=np.int32), "é": np.zeros(2)}, {"pad": "0", "cut": "240", "x": "é"}
        )
        assert load_arrays(path)[1] == {"pad": "0", "cut": "240", "x": "é"}
        contents.add(path.read_bytes())
    assert len(contents) == 1
