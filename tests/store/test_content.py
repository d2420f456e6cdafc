"""Laws of the store: damage is found, and a folder is built once."""

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinlm.config.errors import ConfigError
from clinlm.store.content import RECORD, Damaged, claim, read_record, seal, sealed, verify, write_json
from clinlm.store.locks import locked, make_store, only_process

names = st.text("abcxyz._-", min_size=1, max_size=8).filter(lambda name: set(name) != {"."} and name != RECORD)
trees = st.dictionaries(names, st.binary(min_size=1, max_size=64), min_size=1, max_size=4)


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / f"in-{name}" / name if len(name) % 2 else folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@settings(max_examples=15)
@given(trees, st.data())
def test_every_change_of_every_file_is_found_and_named(files: dict[str, bytes], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write(folder, files)
        seal(folder, {"key": "k"})
        assert verify(folder)["key"] == "k" == read_record(folder)["key"]
        (folder / "later").write_bytes(b"a cache")
        assert sealed(folder) and len(verify(folder)["files"]) == len(files)
        for name in read_record(folder)["files"]:
            path = folder / name
            content = path.read_bytes()
            at = data.draw(st.integers(0, len(content) - 1))
            flipped = bytes([content[at] ^ (1 << data.draw(st.integers(0, 7)))])
            for damage in (content[:at] + flipped + content[at + 1 :], content[:at], content + b"\0"):
                path.write_bytes(damage)
                with pytest.raises(Damaged) as raised:
                    verify(folder)
                assert str(raised.value) == f"{path} is not the file that was recorded"
            path.unlink()
            with pytest.raises(Damaged) as raised:
                verify(folder)
            assert str(raised.value) == f"{path} is missing"
            path.write_bytes(content)
        verify(folder)


def test_every_change_of_the_record_is_found(tmp_path: Path) -> None:
    write(tmp_path, {"one": b"1", "two": b"22"})
    seal(tmp_path, {"key": "k", "parents": {"start": None}, "settings": {"epochs": 3}})
    record = tmp_path / RECORD
    content = record.read_bytes()
    for at in range(len(content)):
        record.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(Damaged):
            verify(tmp_path)
    record.write_bytes(content)
    assert verify(tmp_path)["settings"] == {"epochs": 3}


@pytest.mark.parametrize("record", ["", "{", "[]", "{}", '{"files": 3}', '"text"', "\xff"])
def test_a_record_that_cannot_be_read_is_damage(tmp_path: Path, record: str) -> None:
    (tmp_path / RECORD).write_bytes(record.encode("latin-1"))
    with pytest.raises(Damaged, match="cannot be read"):
        verify(tmp_path)


def build(folder: Path) -> bool:
    """Build `folder` unless it is whole; returns whether it was."""
    with claim(folder) as whole:
        if not whole:
            (folder / "content").write_text("made")
            seal(folder, {"key": "key"})
        return whole


def test_a_folder_is_built_once_and_again_if_damaged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "store" / "stage-key"
    assert [build(folder), build(folder)] == [False, True]
    (folder / "content").write_text("changed")
    assert caplog.text == ""
    assert [build(folder), build(folder)] == [False, True]
    (aside,) = folder.parent.glob("stage-key.damaged-*")
    assert (aside / "content").read_text() == "changed" and (folder / "content").read_text() == "made"
    assert f"{folder / 'content'} is not the file that was recorded" in caplog.text
    assert f"moved to {aside.name} and built again" in caplog.text


def test_an_unfinished_folder_is_kept_without_drafts(tmp_path: Path) -> None:
    folder = tmp_path / "stage-key"
    with pytest.raises(ZeroDivisionError), claim(folder) as whole:
        assert not whole
        (folder / "last.ckpt").write_text("half way")
        (folder / ".last.ckpt.draft").write_text("half written")
        raise ZeroDivisionError
    with claim(folder) as whole:
        assert not whole
        assert [path.name for path in folder.iterdir()] == ["last.ckpt"]


def test_folders_are_for_their_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        build(tmp_path / "store" / "stage-key")
        with locked(tmp_path / "store" / "stage-key" / "logits" / "one.safetensors"):
            pass
    finally:
        os.umask(before)
    made = [tmp_path / "store", tmp_path / "store" / "stage-key", tmp_path / "store" / "stage-key" / "logits"]
    assert [oct(path.stat().st_mode & 0o777) for path in made] == ["0o700"] * 3


SCRIPT = """
import sys, time
from pathlib import Path
from clinlm.store.content import claim, seal
folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
with claim(folder) as whole:
    print("reused" if whole else "building", flush=True)
    if not whole:
        time.sleep(seconds)
        (folder / "content").write_text("made")
        seal(folder, {"key": "key"})
"""


def process(folder: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, str(folder), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])


def test_processes_that_ask_for_one_folder_build_it_once(tmp_path: Path) -> None:
    folder = tmp_path / "stage-key"
    said = [one.communicate(timeout=60)[0].strip() for one in [process(folder, 0.2) for _ in range(3)]]
    assert sorted(said) == ["building", "reused", "reused"]
    verify(folder)


def test_a_lock_dies_with_its_holder(tmp_path: Path) -> None:
    folder = tmp_path / "stage-key"
    holder = process(folder, 600)
    assert holder.stdout is not None and holder.stdout.readline() == "building\n"
    holder.send_signal(signal.SIGKILL)
    holder.communicate(timeout=60)
    assert not build(folder)


def test_json_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.json"
    write_json(path, {"b": 1, "a": [2]})
    assert json.loads(path.read_text()) == {"a": [2], "b": 1}
    assert [one.name for one in tmp_path.iterdir()] == ["report.json"]
    with pytest.raises(ValueError):
        write_json(path, {"a": float("nan")})
    monkeypatch.setattr(os, "replace", lambda *_: 1 / 0)  # a kill between writing and renaming
    with pytest.raises(ZeroDivisionError):
        write_json(path, {"a": 3})
    assert json.loads(path.read_text()) == {"a": [2], "b": 1}


def test_a_store_of_others_eyes_is_closed_to_them(tmp_path: Path) -> None:
    """Whatever rights its folders had before; a folder that is more than a store keeps its rights."""
    store, home = tmp_path / "store", tmp_path / "home"
    for folder in (store, store / "stage-0123456789ab", home, home / "letters"):
        folder.mkdir()
        folder.chmod(0o755)
    build(store / "stage-0123456789ab")
    build(home / "stage-0123456789ab")
    modes = [oct(path.stat().st_mode & 0o777) for path in (store, *store.glob("stage-*"), home, *home.glob("stage-*"))]
    assert modes == ["0o700", "0o700", "0o755", "0o700"]


def test_a_complete_store_that_cannot_be_written_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write anywhere, so the system is asked in its place."""
    store = tmp_path / "store"
    build(store / "stage-key")
    (store / "other-key").mkdir()

    def refused(path: Any, *_: Any, **__: Any) -> Any:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr("filelock.FileLock.acquire", lambda lock, timeout: refused(lock.lock_file))
    monkeypatch.setattr(os, "access", lambda *_: False)
    before = sorted(store.rglob("*"))
    assert build(store / "stage-key")
    with locked(store / "stage-key" / "content"):
        pass
    for missing in ("other-key", "new-key"):
        with pytest.raises(ConfigError, match=f"cannot be written must have all .* without a complete {missing}"):
            build(store / missing)
    (store / "stage-key" / "content").write_text("changed")
    with pytest.raises(Damaged, match="is not the file that was recorded, and .* cannot be written; set another store"):
        build(store / "stage-key")
    assert sorted(store.rglob("*")) == before


def test_who_holds_a_lock_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "stage-key"
    holder = process(folder, 0.5)
    assert holder.stdout is not None and holder.stdout.readline() == "building\n"
    told = rf"process {holder.pid} on {re.escape(socket.gethostname())} \(since 2.* UTC\)"
    with (
        pytest.raises(ConfigError, match=f"only one process can write .*, and {told} is writing it"),
        only_process(folder),
    ):
        pass
    if Path("/proc/self/stat").exists():
        holder.send_signal(signal.SIGSTOP)
        monkeypatch.setattr("clinlm.store.locks._LOOK_S", 0.05)
        go_on = threading.Timer(0.3, holder.send_signal, [signal.SIGCONT])
        go_on.start()
        with caplog.at_level("INFO"):
            assert build(folder)
        go_on.join()
        assert re.search(
            rf"{told}, which is stopped \(kill -CONT {holder.pid} .*, which is building stage-key", caplog.text
        )
    holder.communicate(timeout=60)
    assert not [*tmp_path.glob(".*.holder")]


def test_a_new_store_is_its_owners_alone_whatever_is_made_first(tmp_path: Path) -> None:
    store = tmp_path / "outputs" / "store"
    make_store(store)
    assert oct(store.stat().st_mode & 0o777) == "0o700"
    (store / "teacher-0123456789ab").mkdir()
    for kept, mode, name in ((0o700, 0o755, "plans"), (0o2770, 0o2770, "plans"), (0o755, 0o755, "thesis.tex")):
        (store / name).touch()
        store.chmod(mode)
        make_store(store)
        assert store.stat().st_mode & 0o7777 == kept, f"{oct(mode)} with {name}"
