"""Locks by leases: one holder at a time, and one that was stopped for too long completes nothing."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import Timeout
from hypothesis import given
from hypothesis import strategies as st

from clinlm.store.content import claim, read_record, seal, sealed
from clinlm.store.leases import LEASE_S, MARK, Lease, LostLease
from clinlm.store.locks import if_free, locked, only_process

SCRIPT = """
import sys
from pathlib import Path
from clinlm.store import leases
from clinlm.store.content import claim, seal
leases.LEASE_S = float(sys.argv[3])
with claim(Path(sys.argv[1])) as whole:
    (Path(sys.argv[1]) / "made_by").write_text(sys.argv[2])
    print("holds", flush=True)
    input()
    seal(Path(sys.argv[1]), {"key": "000000000000", "by": sys.argv[2]})
"""
COUNTING = """
import sys
from pathlib import Path
from clinlm.store.locks import locked
path = Path(sys.argv[1])
for _ in range(20):
    with locked(path):
        path.write_text(str(int(path.read_text()) + 1))
"""
STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["acquire", "acquire", "stop", "go", "end", "wait", "wait"])),
    max_size=40,
)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / MARK).touch()
    return tmp_path


@given(STEPS)
def test_only_the_last_holder_ends_its_lease_and_one_that_beats_never_loses_it(steps: list[tuple[int, str]]) -> None:
    now, stopped, tokens = [0.0], set[int](), [0]
    silent: set[int] = set()  # holders that were stopped while time went by
    with tempfile.TemporaryDirectory() as folder:

        def process() -> Lease:
            return Lease(Path(folder) / ".stage.lock", lambda: now[0], beating=False)

        every = [process() for _ in range(3)]
        for number, step in steps:
            own, token = every[number], every[number].token
            if step == "stop":
                stopped.add(number)
            elif step == "go":
                stopped.discard(number)
            elif step == "wait":
                now[0] += LEASE_S / 3
                silent |= stopped
                for place in {0, 1, 2} - stopped:
                    assert not every[place].token or every[place].beat() or place in silent
            elif step == "acquire" and number not in stopped and not token and took(own):
                assert own.token > tokens[-1]
                tokens.append(own.token)
                silent.discard(number)
            elif step == "end" and number not in stopped and token:
                try:
                    own.end()
                    assert token == tokens[-1]
                except LostLease:
                    assert token < tokens[-1] and number in silent
        last = process()
        if not took(last):  # nobody beats any more
            now[0] += LEASE_S
            assert took(last)


def took(lease: Lease) -> bool:
    try:
        lease.acquire(0)
    except Timeout:
        return False
    return True


def test_who_looked_at_an_old_list_of_files_withdraws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the client of a network file system may show it."""
    holder, late = (Lease(tmp_path / ".stage.lock", beating=False) for _ in range(2))
    for _ in range(4):
        holder.acquire(0)
        holder.end()
    holder.acquire(0)
    listed = iter([2])
    last = Lease._last
    monkeypatch.setattr(Lease, "_last", lambda lease: next(listed, None) or last(lease))
    assert not took(late) and holder.beat()
    holder.end()
    assert took(late)


def test_what_was_taken_cannot_be_completed(store: Path) -> None:
    """The files of a lease that are swept away are a loss as well as its end."""
    folder = store / "stage-000000000000"
    with pytest.raises(LostLease, match=r"must renew its lease in .*another has taken it; nothing of this one counts"):
        with claim(folder):
            other = Lease(store / f".{folder.name}.lock", beating=False)
            for _ in range(3):
                other._end_of(other._last())
                other.acquire(0)
            seal(folder, {"key": "000000000000"})
    assert not sealed(folder) and other.beat()


def test_what_was_complete_but_for_a_rename_is_completed_by_the_next(store: Path) -> None:
    folder = store / "stage-000000000000"

    def stopped(*paths: Any) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt), claim(folder):
        (folder / "weights").write_text("all")
        patch.setattr("clinlm.store.content.os.unlink", stopped)
        rename = os.replace
        patch.setattr(os, "replace", lambda a, b: rename(a, b) if Path(b).name != "record.json" else stopped())
        seal(folder, {"key": "000000000000"})
    assert not sealed(folder)
    with claim(folder) as whole:
        assert whole and read_record(folder)["files"].keys() == {"weights"}


def test_a_store_says_it_for_the_folders_in_it(store: Path) -> None:
    tokens = store / "task-000000000000" / "tokens"
    with locked(tokens / "key.safetensors"):
        assert [*tokens.glob(".key.safetensors.lease-1")]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_flock_gets_leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    fcntl = pytest.importorskip("fcntl", reason="Windows locks otherwise")

    def refused(file: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refused)
    path = tmp_path / "stage-000000000000"
    for lock in (locked, only_process):
        with lock(path), if_free(path) as free:
            assert not free and (tmp_path / MARK).exists()
    assert {each.name for each in tmp_path.iterdir()} == {MARK}, "only_process leaves nothing"


@pytest.fixture
def begun() -> Iterator[Any]:
    processes: list[subprocess.Popen[str]] = []

    def begin(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", *arguments]
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        processes.append(subprocess.Popen(command, cwd=Path(__file__).parents[2], text=True, **pipes))
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.integration
@pytest.mark.parametrize("sent", [signal.SIGSTOP, signal.SIGKILL])
def test_a_stopped_or_killed_process_loses_its_stage(store: Path, begun: Any, sent: signal.Signals) -> None:
    """A stopped one goes on after another has built the stage, and completes nothing; for a dead one nobody waits."""
    folder, long = store / "stage-000000000000", "600"
    first = begun(SCRIPT, str(folder), "first", "1" if sent == signal.SIGSTOP else long)
    assert first.stdout.readline() == "holds\n"
    first.send_signal(sent)
    if sent == signal.SIGKILL:
        first.wait()
    second = begun(SCRIPT, str(folder), "second", "1" if sent == signal.SIGSTOP else long)
    assert second.stdout.readline() == "holds\n"
    if sent == signal.SIGSTOP:
        first.send_signal(signal.SIGCONT)
        told = first.communicate("\n", timeout=60)[1]
        assert first.returncode and "LostLease" in told and "another has taken it" in told
    assert second.communicate("\n", timeout=60)[1].count("LostLease") == 0
    assert second.returncode == 0 and read_record(folder)["by"] == "second"
    with claim(folder) as whole:
        assert whole


@pytest.mark.integration
def test_processes_take_turns(store: Path, begun: Any) -> None:
    path = store / "count"
    path.write_text("0")
    processes = [begun(COUNTING, str(path)) for _ in range(4)]
    assert [process.wait(120) for process in processes] == [0] * 4
    assert path.read_text() == "80"
    assert len([*store.glob(".count.lease-*")]) <= 4, "old leases are swept away"
