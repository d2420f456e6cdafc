"""The pipeline that is attacked, and what of its store and table must be equal however it came about."""

import csv
import hashlib
import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from support.commands import PRUNED, ROOT, SMALL

from torture.forks import clinlm_run, forked

PIPELINE: Final = (
    *SMALL,
    *PRUNED,
    f"task.root={ROOT / 'docs' / 'notes.csv'}",
    "task.corpus.text=note",
    "task.corpus.labels=diagnoses",
    "task.corpus.id=null",
    "task.corpus.group=patient",
    "pipeline=c",
    "epochs=2",
)
"""Seven stages of tiny networks on the notes of the documents, two rows of TF-IDF, a report with figures."""

_MEASURED: Final = ("seconds", "measuring_seconds", "attempts", "training_peak_mib", "peak_mib")
_MEASURED_COLUMNS: Final = ("peak_mib", "seconds", "cached", "dominated_by", "verdict_caveat")
_OF_THE_MACHINE: Final = ("README.md", "record.json", "latencies", "logs", "plans", "code.json", "uses")
"""Cards tell times and days, records the digests of reports, logs have a folder for every attempt, the others paths."""
_CACHES: Final = ("logits", "tokens")


def pipeline(place: Path, *more: str) -> Callable[[], None]:
    """Return what runs the pipeline with the store and run folder in `place`."""
    return clinlm_run(*PIPELINE, f"store={place / 'store'}", f"hydra.run.dir={place / 'run'}", *more)


class Whole(NamedTuple):
    """A run that nothing disturbed: what others are compared with, and how long it took."""

    place: Path
    seconds: float


@cache
def unbroken() -> Whole:
    """Return the pipeline run once, in a folder that is removed when this process ends.

    Raises:
        RuntimeError: it failed, so that nothing can be attacked.
    """
    folder = tempfile.TemporaryDirectory(prefix="torture-whole-")
    _folders.append(folder)
    place = Path(folder.name)
    ended = forked(pipeline(place), place)
    if ended.status != 0:
        raise RuntimeError(f"the pipeline must run before it is attacked, it ended with:\n{ended.told}")
    return Whole(place, ended.seconds)


_folders: list[tempfile.TemporaryDirectory[str]] = []


def stored(store: Path) -> dict[str, str]:
    """Return a digest of every file of a store that must be equal, without what is measured and what was set aside."""
    found = {}
    for path in sorted(store.rglob("*")):
        name = path.relative_to(store)
        apart = any(part in _OF_THE_MACHINE or part.startswith(".") or ".damaged-" in part for part in name.parts)
        if apart or path.is_dir():
            continue
        content = path.read_bytes()
        if path.name == "report.json":
            told = {key: value for key, value in json.loads(content).items() if key not in _MEASURED}
            content = json.dumps(told, sort_keys=True).encode()
        found[str(name)] = hashlib.sha256(content).hexdigest()
    return found


def table(run: Path) -> list[dict[str, str]]:
    """Return the rows of a run's table without what is measured of the machine."""
    with (run / "table.csv").open(encoding="utf-8", newline="") as file:
        return [
            {
                name: value
                for name, value in row.items()
                if not name.startswith("latency") and name not in _MEASURED_COLUMNS
            }
            for row in csv.DictReader(file)
        ]


def difference(place: Path, whole: Path) -> str:
    """Return what differs between two places in which the pipeline ran; "" for nothing.

    Caches of a stage that was built again may be missing: they are made when they are needed.
    """
    own, other = stored(place / "store"), stored(whole / "store")
    missing = {name for name in own.keys() ^ other.keys() if not {*Path(name).parts} & {*_CACHES}}
    names = [*missing, *(name for name in own.keys() & other.keys() if own[name] != other[name])]
    if names:
        return f"differs: {', '.join(sorted(names)[:5])}"
    return "" if table(place / "run") == table(whole / "run") else "the table differs"
