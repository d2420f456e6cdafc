"""Notes a second of two plain processes of `clinlm predict`, of Ray with two workers, and of Spark with two.

python benchmarks/scale.py [--notes 100000] [--rounds 4] [--ways plain ray spark table] [--model FOLDER] [--folder NEW]
python benchmarks/scale.py --notes 20000 60000 200000 1000000 --rounds 1

Generated handoffs, drawn with repeats, each with an id of its own, in 20 Parquet files; the model is TF-IDF int8 of the
same corpus, or a folder that `clinlm predict` opens. Plain: two commands at once, each on a file with half of the
notes. Ray, Spark: one command with `on=ray` or `on=spark`. Table: the script of docs/scale.md by `spark-submit --master
local[2]`. The ways alternate, so that a busy moment hits all.
Wall time is that of whole commands, start and end included; CPU seconds are those of all their processes, and hardly
depend on who else computes. Memory is that of the largest process that answers (of the JVM beside it, for a table), in
MiB, at a quarter, at half and at the end of its time. Every id must be there once, with the same answer in all ways.
With several numbers of notes, a start and a cost a note are fitted to all but the last, which tells the error of what
they foretell there and for 50 million notes.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
from hydra import compose, initialize_config_dir
from paired import foretold

from clinlm.config.resolvers import register_resolvers
from clinlm.config.validation import CONF
from clinlm.corpora.synthetic.synthetic import Synthetic
from clinlm.metrics.hardware import Hardware
from clinlm.pipeline.execution import open_task
from clinlm.training.tfidf_int8 import TfidfInt8

DOCUMENT = Path(__file__).parents[1] / "docs" / "scale.md"
TASK = ["task.corpus.style=handoff", "task.corpus.patients=1200", "task.labels=10", "task.max_tokens=96"]
SHARDS, WORKERS = 20, 2
WAYS = ("plain", "ray", "spark", "table")
FAR = 50_000_000
"""Notes for which a cost is foretold."""

_MARK = "CLINLM_SCALE"
_TICK_S = 0.25


def model(store: Path) -> Path:
    """Fit TF-IDF int8; return its folder."""
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        task, _ = open_task(compose("config", overrides=[*TASK, f"store={store}"]))
    fitted = TfidfInt8.of(task)
    fitted.fitted(task)
    return fitted.folder


def write_notes(folder: Path, count: int) -> None:
    """Write notes in `SHARDS` files, and again in a file for each plain process."""
    texts = Synthetic(folder / "corpus", style="handoff", patients=1200, seed=1).records().frame["text"]
    drawn = texts.sample(count, with_replacement=True, shuffle=True, seed=0)
    notes = pl.DataFrame({"id": [f"n{number:07}" for number in range(count)], "text": drawn})
    for kind, parts in (("shards", SHARDS), ("halves", WORKERS)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        each = -(-count // parts)
        for part in range(parts):
            notes.slice(part * each, each).write_parquet(folder / kind / f"part-{part}.parquet", row_group_size=8192)


def commands(way: str, artifact: Path, notes: Path, answers: Path) -> list[list[str]]:
    """Return the commands that run at once."""
    clinlm = [sys.executable, "-m", "clinlm", "predict", f"artifact={artifact}"]
    if way == "plain":
        halves = [notes / "halves" / f"part-{part}.parquet" for part in range(WORKERS)]
        return [[*clinlm, "threads=1", f"input={half}", f"output={answers / half.name}"] for half in halves]
    if way in ("ray", "spark"):
        return [[*clinlm, f"threads={WORKERS}", f"input={notes / 'shards'}", f"output={answers}", f"on={way}"]]
    script = notes / "spark.py"
    script.write_text(
        DOCUMENT.read_text(encoding="utf-8").split("## Tables, on Spark")[1].split("```python\n")[1].split("```")[0]
    )
    submit = [str(Path(sys.executable).with_name("spark-submit")), "--master", f"local[{WORKERS}]"]
    return [
        [*submit, "--conf", "spark.ui.enabled=false", str(script), *map(str, (artifact, notes / "shards", answers))]
    ]


class Watch:
    """CPU seconds and memory of all processes with a mark in their environment, looked at several times a second."""

    def __init__(self, mark: str) -> None:
        self._mark = f"{_MARK}={mark}".encode()
        self.cpu: dict[int, float] = {}
        self.mib: dict[int, list[float]] = {}

    def look(self) -> None:
        """Read /proc."""
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                if self._mark not in (entry / "environ").read_bytes().split(b"\0"):
                    continue
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            number = int(entry.name)
            self.cpu[number] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            self.mib.setdefault(number, []).append(int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 2**20)

    def largest(self) -> list[float]:
        """Return the memory of the process with most CPU time at a quarter, at half and at the end of its time."""
        seen = self.mib[max(self.cpu, key=lambda number: self.cpu[number])]
        return [seen[(len(seen) - 1) * place // 4] for place in (1, 2, 4)]


@contextmanager
def watching(mark: str) -> Iterator[Watch]:
    """Look at the processes of a mark until the end."""
    watch, over = Watch(mark), threading.Event()

    def look() -> None:
        while not over.wait(_TICK_S):
            watch.look()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield watch
    finally:
        over.set()
        thread.join()


def run(way: str, artifact: Path, notes: Path, answers: Path) -> dict[str, Any]:
    """Run one way; return its seconds, CPU seconds and memory."""
    answers.mkdir(parents=True)
    mark = os.urandom(8).hex()
    env = {**os.environ, _MARK: mark, "OMP_NUM_THREADS": "1", "PYSPARK_PYTHON": sys.executable}
    if way == "table":
        answers.rmdir()
    with watching(mark) as watch, open(notes / f"{way}.log", "wb") as log:
        began = time.perf_counter()
        running = [
            subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
            for command in commands(way, artifact, notes, answers)
        ]
        if any([process.wait() for process in running]):
            sys.exit(f"{way} failed: see {notes / f'{way}.log'}")
        seconds = time.perf_counter() - began
    return {"seconds": seconds, "cpu": sum(watch.cpu.values()), "mib": watch.largest()}


def read_answers(answers: Path) -> pl.DataFrame:
    """Return the answers by id."""
    return pl.read_parquet(answers / "*.parquet").select("id", "labels", "probabilities").sort("id")


def measured(given: argparse.Namespace, folder: Path) -> None:
    """Print a line for every number of notes, round and way, the ratios, and what is foretold."""
    artifact = given.model or model(folder / "store")
    print(f"{Hardware.of_this_process()}, load {os.getloadavg()[0]:.1f}; {artifact.name}")
    costs: dict[str, list[tuple[float, float]]] = {way: [] for way in given.ways}
    for count in given.notes:
        place = folder / str(count)
        write_notes(place / "notes", count)
        found = rounds(given, count, artifact, place)
        first = found[given.ways[0]]
        for way, own in found.items():
            costs[way].append((statistics.median(wall for wall, _ in own), statistics.median(cpu for _, cpu in own)))
            if own is not first:
                wall, cpu = (statistics.median(a[i] / b[i] for a, b in zip(first, own, strict=True)) for i in (0, 1))
                print(f"{way} / {given.ways[0]}: {wall:.2f} of its notes a second, {cpu:.2f} by CPU seconds (medians)")
    if len(given.notes) > 2:
        for way, own in costs.items():
            for kind, each in zip(("clock", "CPU"), zip(*own, strict=True), strict=True):
                print(f"{way}, seconds by the {kind}: {foretold('notes', given.notes, each, FAR)}")


def rounds(given: argparse.Namespace, count: int, artifact: Path, folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Print a line for every round and way; return seconds and CPU seconds by way."""
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in given.ways}
    first: pl.DataFrame | None = None
    for number in range(given.rounds):
        for way in given.ways if number % 2 == 0 else reversed(given.ways):
            answers = folder / "answers" / f"{way}-{number}"
            told = run(way, artifact, folder / "notes", answers)
            read = read_answers(answers)
            if read["id"].n_unique() != count or read.height != count:
                sys.exit(f"{way}: every id must be there once, got {read.height:,} rows of {count:,}")
            first = read if first is None else first
            same = "same answers" if read.equals(first) else "OTHER ANSWERS"
            found[way].append((told["seconds"], told["cpu"]))
            mib = " ".join(f"{own:.0f}" for own in told["mib"])
            print(
                f"{count:9,} {number} {way:<6} {told['seconds']:7.1f} s, {count / told['seconds']:8,.0f} notes/s, CPU "
                f"{told['cpu']:7.1f} s, {1e6 * told['cpu'] / count:6.0f} µs a note, {mib} MiB, {same}, load "
                f"{os.getloadavg()[0]:.1f}",
                flush=True,
            )
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--notes", type=int, nargs="+", default=[100_000])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--model", type=Path, help="the folder of a model, instead of TF-IDF int8 of the notes' corpus")
    parser.add_argument("--folder", type=Path, help="an empty folder for notes and answers, which stay")
    given = parser.parse_args(arguments)
    if given.folder is not None:
        measured(given, given.folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        measured(given, Path(folder))


if __name__ == "__main__":
    main()
