"""A table of NOTEEVENTS' shape, read by clinlm, by pandas in chunks and by a lazy frame of polars.

python benchmarks/reading.py [PATIENTS] [ROUNDS]

The table is generated (134,700 patients give 394 MB; all texts are synthetic). `stream`: every cell is parsed, the
bytes of the texts are summed, nothing is kept. `keep`: the notes without errors, with their ids and texts, as
`corpus=mimic3_notes` reads them; what is kept is in the peak. Every reading is a process of its own, with one thread;
rounds alternate. Told are processor seconds, the peak of resident memory, and how far it is above the imports. clinlm
checks bytes, quotes and the number of fields; the others do not.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from paired import Curve, Row, machine, tell

COLUMNS = "ROW_ID SUBJECT_ID HADM_ID CHARTDATE CHARTTIME STORETIME CATEGORY DESCRIPTION CGID ISERROR TEXT".split()
READERS = ("clinlm", "pandas", "polars")
PEERS = Path(__file__).parent / "peers"


def main() -> None:
    """Generate the table, read it at three sizes, print the ratios."""
    patients, rounds = (int(value) for value in (*sys.argv[1:], *("134700", "3")[len(sys.argv) - 1 :]))
    print(f"{machine()}; readers have one thread")
    with tempfile.TemporaryDirectory() as scratch:
        whole = generate(Path(scratch), patients)
        paths = [cut(whole, share) for share in (4, 2, 1)]
        tell([one for work in ("stream", "keep") for one in compared(paths, work, rounds)])
    print(machine())


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


def compared(paths: Sequence[Path], work: str, rounds: int) -> list[Row | Curve]:
    """Return seconds and memory of the largest table, and how seconds grow with the megabytes of all."""
    found: dict[tuple[str, Path], list[tuple[float, float, float]]] = {}
    for _ in range(rounds):
        for path in paths:
            answers = set()
            for reader in READERS:
                *costs, answer = measured(reader, work, path)
                found.setdefault((reader, path), []).append((costs[0], costs[1], costs[2]))
                answers.add(answer)
            assert len(answers) == 1, f"the readers must agree, got {answers}"
    sizes = tuple(round(path.stat().st_size / 1e6) for path in paths)
    told: list[Row | Curve] = []
    for peer in READERS[1:]:
        what = f"reading to {work}, {sizes[-1]:,} MB"
        ours, theirs = (zip(*found[who, paths[-1]], strict=True) for who in ("clinlm", peer))
        told += [
            Row.of(what, peer, unit, *pair)
            for unit, *pair in zip(("s", "MiB", "MiB, no imports"), ours, theirs, strict=True)
        ]
        growth = [tuple(median(own[0] for own in found[who, path]) for path in paths) for who in ("clinlm", peer)]
        told.append(Curve(f"reading to {work}", "MB", peer, sizes, *growth))
    return told


def measured(reader: str, work: str, path: Path) -> tuple[float, float, float, str]:
    """Read in another process; return processor seconds, peak MiB, the same above imports, and what it found."""
    script = [__file__, "--read"] if reader == "clinlm" else [str(PEERS / f"{reader}_table.py")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    command = [sys.executable, *script, work, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    seconds, peak, above, answer = json.loads(done.stdout.splitlines()[-1])
    return seconds, peak, above, answer


def read(work: str, path: Path) -> None:
    """Read a table with clinlm in this process, and print core-seconds after the imports, and what was found."""
    import polars as pl

    from clinlm.corpora.mimic.mimic3_notes import Mimic3Notes
    from clinlm.files.delimited import scan_delimited

    imports, began = peak_mib(), time.process_time()
    if work == "stream":
        table = scan_delimited(path, COLUMNS).select(pl.len(), pl.col("TEXT").str.len_bytes().sum())
        answer = str(table.collect(engine="streaming").row(0))
    else:
        answer = str((kept := Mimic3Notes(path.parent).records()).frame.height)
        assert kept
    print(json.dumps([time.process_time() - began, peak_mib(), peak_mib() - imports, answer]))


def peak_mib() -> float:
    """Return the peak of this process's resident memory."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--read"]:
        read(sys.argv[2], Path(sys.argv[3]))
    else:
        main()
