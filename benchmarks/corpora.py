"""Readers of the files that hospitals have: rows a second and memory, each on generated files of its shape.

python benchmarks/corpora.py [PATIENTS] [ROUNDS]

`table` reads the notes of the OMOP tables from one CSV: the yardstick, to which ratios of seconds a row are given.
Every reading is a process of its own, with one thread; rounds alternate. Told are notes, megabytes on disk, processor
seconds after the imports, and by how much the peak of resident memory is above that after the imports; what a corpus
keeps (the megabytes of its texts) is a part of it. Formats whose library is missing are left out.
"""

import csv
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from paired import machine

ROUNDS = 3


def main() -> None:
    """Generate, read in turn, print one table."""
    patients, rounds = (int(value) for value in (*sys.argv[1:], *("6000", str(ROUNDS))[len(sys.argv) - 1 :]))
    print(f"{machine()}; readers have one thread; {patients:,} patients, {rounds} rounds")
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, __file__, "--make", scratch, str(patients)]
        subprocess.run(command, check=True)
        places = json.loads((Path(scratch) / "places.json").read_text())
        found: dict[str, list[dict[str, float]]] = {}
        for _ in range(rounds):
            for kind, place in places.items():
                found.setdefault(kind, []).append(measured(kind, place))
        yard = [one["seconds"] / one["notes"] for one in found["table"]]
        print("| reader | notes | MB on disk | MB of text | s | notes a second | x table | peak MiB above imports |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        for kind, runs in found.items():
            seconds, notes = median(one["seconds"] for one in runs), runs[0]["notes"]
            ratio = median(one["seconds"] / one["notes"] / own for one, own in zip(runs, yard, strict=True))
            size = sum(p.stat().st_size for p in files(Path(places[kind]))) / 1e6
            cells = f"{notes:,.0f} | {size:,.0f} | {runs[0]['megabytes']:,.0f} | {seconds:.2f}"
            peak = median(one["peak"] for one in runs)
            print(f"| {kind} | {cells} | {notes / seconds:,.0f} | {ratio:.2f} | {peak:,.0f} |")
    print(machine())


def files(place: Path) -> list[Path]:
    """Return the files of a place."""
    return [path for path in place.rglob("*") if path.is_file()] if place.is_dir() else [place]


def make(root: Path, patients: int) -> None:
    """Write the files of every format, in a process of its own, and where they are."""
    import polars as pl

    from clinlm.corpora.synthetic.fhir_resources import SyntheticFhir
    from clinlm.corpora.synthetic.mimic4_tables import SyntheticMimic4
    from clinlm.corpora.synthetic.omop_tables import OMOP_COLUMNS, SyntheticOmop

    omop = SyntheticOmop(root, patients).tables()
    places = {"table": str(omop / "note.csv"), "mimic4_notes": str(SyntheticMimic4(root, patients).tables())}
    places |= {"mimic4_outcomes": places["mimic4_notes"], "omop csv": str(omop)}
    for kind in ("parquet", "arrow"):
        (root / kind).mkdir()
        for table in OMOP_COLUMNS if kind == "parquet" else ("note",):
            frame = pl.read_csv(omop / f"{table}.csv", infer_schema=False)
            path = root / kind / f"{table}.{kind}"
            _ = frame.write_parquet(path) if kind == "parquet" else frame.write_ipc_stream(path)
    places |= {"omop parquet": str(root / "parquet"), "table arrow": str(root / "arrow")}
    if importlib.util.find_spec("duckdb"):
        import duckdb

        path = root / "cdm.duckdb"
        with duckdb.connect(str(path)) as connection:
            for table in OMOP_COLUMNS:
                connection.execute(f"CREATE TABLE {table} AS SELECT * FROM read_csv('{omop / table}.csv')")
        places["omop duckdb"] = str(path)
    places["fhir"] = str(SyntheticFhir(root, patients).tables())
    places["label_studio"] = str(root / "export.json")
    with (
        (omop / "note.csv").open(encoding="utf-8", newline="") as source,
        Path(places["label_studio"]).open("w") as file,
    ):
        for number, row in enumerate(csv.DictReader(source)):
            text = row["note_text"]
            value = {"start": 0, "end": len(text[:9].rstrip()), "text": text[:9].rstrip(), "labels": ["X"]}
            task = {"id": number, "data": {"text": text}}
            task["annotations"] = [{"result": [{"type": "labels", "value": value}] if text.strip() else []}]
            file.write(("[" if number == 0 else ",\n") + json.dumps(task))
        file.write("]")
    (root / "places.json").write_text(json.dumps(places))


def measured(kind: str, place: str) -> dict[str, float]:
    """Read in another process."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    command = [sys.executable, __file__, "--read", kind, place]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def corpus(kind: str, place: str) -> Any:
    """Return the corpus of a format."""
    from clinlm.corpora.fhir.fhir import Fhir
    from clinlm.corpora.label_studio import LabelStudio
    from clinlm.corpora.mimic.mimic4_notes import Mimic4Notes
    from clinlm.corpora.mimic.mimic4_outcomes import Mimic4Outcomes
    from clinlm.corpora.omop.omop import Omop
    from clinlm.corpora.table import Table

    if kind.startswith("omop"):
        return Omop(place)
    if kind.startswith("table"):
        return Table(place, text="note_text", labels=None, id="note_id", group="person_id")
    if kind == "mimic4_outcomes":
        return Mimic4Outcomes(place, "diagnoses_3digit")
    return {"mimic4_notes": Mimic4Notes, "fhir": Fhir, "label_studio": LabelStudio}[kind](place)


def read(kind: str, place: str) -> None:
    """Read in this process, and print what it took."""
    opened = corpus(kind, place)
    before, began = resident("VmRSS"), time.process_time()
    frame = opened.records().frame
    seconds = time.process_time() - began
    megabytes = frame["text"].str.len_bytes().sum() / 1e6
    found = {"seconds": seconds, "notes": frame.height, "megabytes": megabytes, "peak": resident("VmHWM") - before}
    print(json.dumps(found))


def resident(name: str) -> float:
    """Return a size of this process, MiB."""
    found = re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


if __name__ == "__main__":
    if sys.argv[1:2] == ["--read"]:
        read(*sys.argv[2:])
    elif sys.argv[1:2] == ["--make"]:
        make(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
