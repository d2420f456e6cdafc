"""A table of NOTEEVENTS' shape, read by clinlm, by pandas in chunks and by a lazy frame of polars.

python benchmarks/reading.py [PATIENTS] [ROUNDS]

The table is generated (134,700 patients give 394 MB; all texts are synthetic). `stream`: every cell is parsed, the
bytes of the texts are summed, nothing is kept. `keep`: the notes without errors, with their ids and texts, as
`corpus=mimic3_notes` reads them; what is kept is in the peak. Every reading is a process of its own, with one thread;
rounds alternate. Told are the medians of processor seconds, and of the peak of resident memory, over clinlm's. clinlm
checks bytes, quotes and the number of fields; the others do not.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from clinlm.metrics.hardware import Hardware

COLUMNS = "ROW_ID SUBJECT_ID HADM_ID CHARTDATE CHARTTIME STORETIME CATEGORY DESCRIPTION CGID ISERROR TEXT".split()
KEPT = ["ROW_ID", "SUBJECT_ID", "CATEGORY", "ISERROR", "TEXT"]
READERS = ("clinlm", "pandas", "polars")
CHUNK = 10_000


def main() -> None:
    """Generate the table, read it at three sizes, print the ratios."""
    patients, rounds = (int(value) for value in (*sys.argv[1:], *("134700", "3")[len(sys.argv) - 1 :]))
    hardware = Hardware.of_this_process()
    load = os.getloadavg()[0]
    print(f"{hardware}; load before: {load:.1f}; readers have one thread; {rounds} rounds")
    with tempfile.TemporaryDirectory() as scratch:
        whole = generate(Path(scratch), patients)
        for share in (4, 2, 1):
            path = cut(whole, share)
            for work in ("stream", "keep"):
                compare(path, work, rounds)
    print(f"load after: {os.getloadavg()[0]:.1f}")


def generate(root: Path, patients: int) -> Path:
    """Write the tables in another process, so that generating leaves no memory behind in this one."""
    code = (
        "import sys; from clinlm.corpora.synthetic.synthetic import Synthetic; "
        "print(Synthetic(sys.argv[1], patients=int(sys.argv[2]), style='full').tables())"
    )
    done = subprocess.run([sys.executable, "-c", code, root, str(patients)], check=True, capture_output=True, text=True)
    return Path(done.stdout.strip()) / "NOTEEVENTS.csv"


def cut(whole: Path, share: int) -> Path:
    """Return a table with the first records of another."""
    if share == 1:
        return whole
    folder = whole.parent / f"first-{share}"
    folder.mkdir()
    place, record = whole.stat().st_size // share, re.compile(rb'"?\n(?=\d+,\d+,\d+,\d{4}-\d\d-\d\d)')
    with whole.open("rb") as source, (folder / whole.name).open("wb") as target:
        target.write(source.read(place))
        rest = source.read(2**20)
        found = record.search(rest)
        assert found, "a record ends within a megabyte"
        target.write(rest[: found.end()])
    return folder / whole.name


def compare(path: Path, work: str, rounds: int) -> None:
    """Print a line a reader: medians of seconds and memory, and their ratios to clinlm's."""
    found: dict[str, list[tuple[float, float]]] = {reader: [] for reader in READERS}
    answers = set()
    for _ in range(rounds):
        for reader in READERS:
            seconds, peak, answer = measured(reader, work, path)
            found[reader].append((seconds, peak))
            answers.add(answer)
    assert len(answers) == 1, f"the readers must agree, got {answers}"
    print(f"{work}, {path.stat().st_size / 1e6:,.0f} MB")
    for reader, values in found.items():
        seconds, peak = (statistics.median(part) for part in zip(*values, strict=True))
        ratios = [
            statistics.median(theirs[place] / ours[place] for theirs, ours in zip(values, found["clinlm"], strict=True))
            for place in (0, 1)
        ]
        print(f"  {reader:8}{seconds:7.2f} s ({ratios[0]:4.2f}x){peak:8.0f} MiB ({ratios[1]:4.2f}x)")


def measured(reader: str, work: str, path: Path) -> tuple[float, float, str]:
    """Read in another process; return processor seconds, peak MiB, and what it found."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    command = [sys.executable, __file__, "--read", reader, work, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    seconds, peak, answer = json.loads(done.stdout)
    return seconds, peak, answer


def read(reader: str, work: str, path: Path) -> None:
    """Read a table in this process, and print the measurements."""
    run = {"clinlm": with_clinlm, "pandas": with_pandas, "polars": with_polars}[reader](work, path)
    began = time.process_time()
    answer = run()
    seconds = time.process_time() - began
    status = Path("/proc/self/status").read_text()
    peak = int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]
    print(json.dumps([seconds, peak, answer]))


def with_clinlm(work, path):  # type: ignore[no-untyped-def]
    """Return a function that reads with clinlm."""
    import polars as pl

    from clinlm.corpora.mimic.mimic3_notes import Mimic3Notes
    from clinlm.files.delimited import scan_delimited

    def stream() -> str:
        table = scan_delimited(path, COLUMNS).select(pl.len(), pl.col("TEXT").str.len_bytes().sum())
        return str(table.collect(engine="streaming").row(0))

    def keep() -> str:
        return str(Mimic3Notes(path.parent).records().frame.height)

    return stream if work == "stream" else keep


def with_polars(work, path):  # type: ignore[no-untyped-def]
    """Return a function that reads with polars alone."""
    import polars as pl

    def stream() -> str:
        table = pl.scan_csv(path, infer_schema=False).select(pl.len(), pl.col("TEXT").str.len_bytes().sum())
        return str(table.collect(engine="streaming").row(0))

    def keep() -> str:
        wrong, filled = pl.col("ISERROR").fill_null("") == "1", pl.col("TEXT").str.contains(r"\S").fill_null(False)
        return str(pl.scan_csv(path, infer_schema=False).select(KEPT).filter(~wrong & filled).collect().height)

    return stream if work == "stream" else keep


def with_pandas(work, path):  # type: ignore[no-untyped-def]
    """Return a function that reads with pandas, in chunks."""
    import pandas as pd

    def stream() -> str:
        rows = size = 0
        for chunk in pd.read_csv(path, dtype=str, chunksize=CHUNK):
            rows, size = rows + len(chunk), size + int(chunk["TEXT"].str.len().sum())
        return str((rows, size))

    def keep() -> str:
        parts = []
        for chunk in pd.read_csv(path, dtype=str, usecols=KEPT, chunksize=CHUNK):
            parts.append(chunk[(chunk["ISERROR"] != "1") & chunk["TEXT"].str.contains(r"\S", na=False)])
        return str(len(pd.concat(parts)))

    return stream if work == "stream" else keep


if __name__ == "__main__":
    if sys.argv[1:2] == ["--read"]:
        read(*sys.argv[2:4], Path(sys.argv[4]))
    else:
        main()
