"""Every command, traced: no internet address, no look-up of a host, and no file but in the folder of the run."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.commands import PRUNED, ROOT, SMALL

SETTINGS = (
    *(*SMALL, *PRUNED[:1], "pipeline=a", "engine=auto", "logger=csv", "task.corpus.text=text"),
    "task.corpus.labels=labels",
)
SCRIPT = f"""
c() {{ {shlex.quote(sys.executable)} -m clinlm "$@" || echo "status $? of $*"; }}
c --version; c --help; c --completion bash; c list; c list prune; c agent --help; c predict --help
c check input="$NOTES" text=text labels=labels
c {" ".join(map(shlex.quote, SETTINGS))} task.root="$NOTES"
c show
for model in outputs/store/student-[0-9a-f]* outputs/store/student-[a-z]*-* outputs/store/tfidf_int8-*; do
    (head -n 20 notes.jsonl; sleep 12; tail -n +21 notes.jsonl) |
        c predict artifact=$model input=- output=$(basename $model).jsonl rejects=$(basename $model).rejects &
done
c label labeler=ontology labeler.root=. labeler.sources.medications.file=terms.csv '~labeler.sources.diseases' \\
    '~labeler.sources.symptoms' input=notes.jsonl output=labels.jsonl
wait
c documents task=length_of_stay task.corpus.definition=strict output=generated
for kind in html clinical hf; do c report $kind run=$(echo outputs/runs/*); done
c predict artifact=nowhere input="$NOTES" output=x.jsonl
"""
"""Answers take longer than ONNX Runtime waits before it looks up the host of its makers, 10 s."""
CALLS = "network,openat,open,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,mknod,mknodat"
CALLS += ",chdir"  # so that a relative path is one from the first folder
ANYWHERE = ("/dev/null", "/dev/tty", "/dev/shm/sem.", "/proc/self/", "/proc/thread-self/")
"""No files: semaphores, the terminal, what the kernel tells a process of itself."""
ASKED = re.compile(r"^.*(?:AF_INET|/etc/resolv\.conf|/etc/hosts).*$", re.M)
CONNECT = [sys.executable, "-c", "import socket; socket.socket().connect_ex(('127.0.0.1', 9))"]
WRITTEN = re.compile(r"^\d+ +(?:(?:openat|open)\(.*O_(?:WRONLY|RDWR|CREAT)|(?:creat|mk|rename|link|symlink|chdir))")


def made(trace: str, start: Path) -> Iterator[Path]:
    """Yield every path that a trace of `strace -y`, begun in `start`, says was made, entered or opened to write."""
    for line in trace.splitlines():
        if WRITTEN.match(line) and " = -1 " not in line:
            for folder, name in re.findall(r'(?:\(|, )(?:AT_FDCWD<([^>]*)>, )?"((?:[^"\\]|\\.)*)"', line):
                yield Path(os.path.normpath(os.path.join(folder or start, name)))


def test_paths_are_read_from_a_trace() -> None:
    trace = """\
7 openat(AT_FDCWD</a/b>, "../c", O_WRONLY|O_CREAT, 0666) = 3</a/c>
7 openat(AT_FDCWD</a/b>, "read", O_RDONLY|O_CLOEXEC) = 3</a/b/read>
7 openat(AT_FDCWD</a/b>, "/no", O_RDWR) = -1 EACCES (Permission denied)
7 rename("/old", "/new") = 0
7 mkdir("made", 0777) = 0
"""
    assert [str(path) for path in made(trace, Path("/x"))] == ["/a/c", "/old", "/new", "/x/made"]


@pytest.mark.integration
def test_no_command_asks_a_host_or_writes_elsewhere(notes_csv: Path, tmp_path: Path) -> None:
    places = {name: tmp_path / name for name in ("run", "home", "tmp")}
    for place in places.values():
        place.mkdir()
    trace = tmp_path / "trace"
    watched = ["strace", "-f", "-y", "-qq", "--seccomp-bpf", "-e", f"trace={CALLS}", "-o", str(trace)]
    if shutil.which("strace") is None or subprocess.run([*watched, *CONNECT], capture_output=True).returncode:
        pytest.skip("strace is not there, or must not trace here: apt-get install strace")
    assert ASKED.search(trace.read_text(errors="replace")), "the test would see a connection"
    notes = "".join(f'{{"text": "fever and cough, took aspirin, {number}"}}\n' for number in range(40))
    (places["run"] / "notes.jsonl").write_text(notes)
    (places["run"] / "terms.csv").write_text("Common name;Synonyms\nAspirin;\n")
    # Not the environment of the test: onnxruntime sends nothing where CI is set.
    env = {"PYTHONPATH": str(ROOT), "HOME": str(places["home"]), "TMPDIR": str(places["tmp"]), "NOTES": str(notes_csv)}
    env |= {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*watched, "sh", "-c", SCRIPT], env=env, cwd=places["run"], capture_output=True, text=True, timeout=900
    )
    failed = [line for line in done.stdout.splitlines() if line.startswith("status ")]
    assert len(failed) == 1 and "artifact=nowhere" in failed[0], done.stdout + done.stderr
    told = trace.read_text(errors="replace")
    assert ASKED.findall(told) == []
    outside = {
        path
        for path in made(told, places["run"])
        if not path.is_relative_to(tmp_path) and "__pycache__" not in path.parts and not str(path).startswith(ANYWHERE)
    }
    assert outside == set()
    assert any(path.is_relative_to(places["run"]) for path in made(told, places["run"])), "the test would see one"
    assert [*places["home"].iterdir(), *places["tmp"].iterdir()] == []
