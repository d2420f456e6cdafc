"""What a store holds: how large it is, when it was used, what it was made from, and which runs need it."""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self, final

from clinlm.config.errors import DataError
from clinlm.store.content import RECORD, USES, read_digested, recorded_json
from clinlm.store.key import counted_settings

ANSWERS: Final = "labels"
"""Kind of the answers of labelers, which cost money or people's time: they are never removed."""
UNFINISHED: Final = "unfinished"
DAMAGED: Final = "damaged"
"""Set aside, and built again."""
LEFTOVER: Final = "leftover"
"""What a process was removing, or importing, when it was killed."""
_WITHOUT_TEXT: Final = ("stage", "deployment", "tfidf_int8")
"""Kinds that hold no note, and no term that fewer than `task.min_groups` groups (patients) have; a cascade
copies models that its record does not name."""
FOLDER: Final = re.compile(r"[^.].*-[0-9a-f]{12}")
"""Names of what is built in a store."""
_ASIDE: Final = re.compile(r"[^.].*-[0-9a-f]{12}(\.last\.ckpt)?\.damaged-\d+")
_LEFT: Final = re.compile(r"\..+\.removed-\d+|\.import-\w+")
_KEY: Final = re.compile(r"(?<![0-9a-f])[0-9a-f]{12}(?![0-9a-f])")
_OF_A_RUN: Final = ("run.json", "table.json", "gate.json", "resplits.json")
"""A folder with one of them is that of a run or sweep; the keys in its JSON files are of what it used."""


@final
@dataclass(frozen=True)
class StoreEntry:
    """A folder (or, set aside, a file) of a store, from its record and the facts of its files; none is opened.

    Attributes:
        kind: stage, deployment, task, transfer, tfidf, …; labels, unfinished, damaged, leftover.
        record: what `seal` wrote; empty where it is not complete.
        bytes: of all its files.
        made, used: when it was completed, and last built, claimed or added to, as `time.time`.
        keys: by which others name it.
    """

    path: Path
    kind: str
    record: Mapping[str, Any]
    bytes: int
    made: float
    used: float
    keys: frozenset[str]

    @property
    def mentioned(self) -> set[str]:
        """Keys of what it was made from, and others of the same form."""
        return {*_KEY.findall(json.dumps(self.record))} - self.keys


@final
@dataclass(frozen=True)
class Inventory:
    """The entries of a store by name, and the runs that use them.

    Attributes:
        runs: folder of a run or sweep -> names of the entries that it used.
        gone: files of runs that are no longer there.
    """

    root: Path
    entries: Mapping[str, StoreEntry]
    runs: Mapping[Path, set[str]]
    gone: Sequence[Path] = ()
    _parents: dict[str, list[str]] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, root: Path, places: Iterable[Path]) -> Self:
        """Look through a store, and the folders in which runs lie, at any depth.

        Raises:
            DataError: it cannot be told what a run uses.
        """
        own = cls.without_runs(root)
        by_key, runs = own._by_key(), dict[Path, set[str]]()
        for run, keys in _runs(places, root):
            runs.setdefault(run, set()).update(*(by_key.get(key, ()) for key in keys))
        gone = []
        for path, run, names in _uses(root):
            if run.is_dir():
                runs.setdefault(run, set()).update(names & own.entries.keys())
            else:
                gone.append(path)
        return replace(own, runs=runs, gone=gone)

    @classmethod
    def without_runs(cls, root: Path) -> Self:
        """Look through a store only."""
        own = cls(root, {entry.path.name: entry for entry in _entries(root)}, {})
        by_key = own._by_key()
        for name, entry in own.entries.items():
            found = set().union(*(by_key.get(key, ()) for key in entry.mentioned), own._transfer_sets(entry))
            own._parents[name] = sorted(found - {name})
        return own

    def parents(self, name: str) -> list[str]:
        """Return the names of what an entry was made from, as far as it is in the store."""
        return self._parents[name]

    def absent(self, name: str) -> list[str]:
        """Return the keys of what an entry was made from and the store does not have."""
        record = self.entries[name].record
        parents = record.get("parents") or {}
        keys = [parents.get("start"), *parents.get("teachers", ()), record.get("artifact"), record.get("task")]
        there = set().union(*(self.entries[own].keys for own in self._parents[name]))
        return [key for key in dict.fromkeys(keys) if key and key not in there]

    def children(self, name: str) -> list[str]:
        """Return the names of what was made from an entry."""
        return [own for own, parents in self._parents.items() if name in parents]

    def lineage(self, names: Iterable[str]) -> list[str]:
        """Return entries, and all that they were made from, parents first."""
        found: dict[str, None] = {}
        waiting = [(name, False) for name in sorted(names, reverse=True)]
        entered = set()
        while waiting:
            name, done = waiting.pop()
            if done:
                found[name] = None
            elif name not in entered:
                entered.add(name)
                waiting.append((name, True))
                waiting += [(parent, False) for parent in reversed(self._parents[name])]
        return [*found]

    def needed(self) -> set[str]:
        """Return the names of what a run used, of all that this was made from, and of the answers of labelers."""
        answers = {name for name, entry in self.entries.items() if entry.kind == ANSWERS}
        return {*self.lineage(answers.union(*self.runs.values()))}

    def users(self, name: str) -> list[Path]:
        """Return the runs and sweeps that used an entry."""
        jobs = [run for run, names in self.runs.items() if name in names]
        return sorted({job.parent if (job.parent / "multirun.yaml").is_file() else job for job in jobs})

    def holds_text(self, name: str) -> bool:
        """Return whether an entry may hold notes, or terms of single patients (those of `task.min_groups=1`).

        Of a vocabulary that it has from a stage which the store does not have, nobody knows whose terms are in it.

        Raises:
            Damaged: the report of a stage that it was made from is not the one that was recorded.
        """
        entry = self.entries[name]
        if entry.kind not in _WITHOUT_TEXT:
            return True
        lineage = [self.entries[own] for own in self.lineage([name])]
        there = set().union(*(own.keys for own in lineage))
        continued = [(own.record.get("parents") or {}).get("start") or own.record.get("artifact") for own in lineage]
        if any(key and key not in there for key in continued):
            return True
        stages = [own.path for own in lineage if own.kind == "stage" and (own.path / "report.json").is_file()]
        learnt = [recorded_json(stage, "report.json").get("vocabulary") for stage in stages]
        return any(own["min_groups"] < 2 for own in (*learnt, entry.record.get("vocabulary")) if own)

    def _by_key(self) -> dict[str, set[str]]:
        """Return the names of the entries with a key."""
        found: dict[str, set[str]] = {}
        for name, entry in self.entries.items():
            for key in entry.keys:
                found.setdefault(key, set()).add(name)
        return found

    def _transfer_sets(self, entry: StoreEntry) -> set[str]:
        """Return the names of the texts that a stage learned from besides: its record has their settings, no key."""
        settings = (entry.record.get("settings") or {}).get("augmentation")
        if entry.kind != "stage" or settings is None:
            return set()
        wanted = entry.record.get("task"), counted_settings(settings)
        return {
            name
            for name, own in self.entries.items()
            if own.kind == "transfer" and (own.record.get("task"), own.record.get("settings")) == wanted
        }


def _entries(root: Path) -> Iterator[StoreEntry]:
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        if path.is_symlink():
            continue
        if FOLDER.fullmatch(path.name) and path.is_dir():
            record = _record(path)
            # Of a folder that is not complete, the lock beside it tells that it was begun here.
            if record or path.with_name(f".{path.name}.lock").exists():
                yield _entry(path, _kind(path, record), record)
        elif _ASIDE.fullmatch(path.name):
            yield _entry(path, DAMAGED, {})
        elif _LEFT.fullmatch(path.name) and path.is_dir():
            yield _entry(path, LEFTOVER, {})


def _record(folder: Path) -> dict[str, Any]:
    """Return the record of a folder that was made for its name; {} for none."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        own = record["key"] in (folder.name, folder.name.rpartition("-")[2]) and isinstance(record["files"], dict)
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return record if own else {}


def _kind(folder: Path, record: Mapping[str, Any]) -> str:
    first = folder.name.rpartition("-")[0]
    if first == ANSWERS:
        return first
    if not record:
        return UNFINISHED
    return "stage" if "stage" in record else "deployment" if "engine" in record else first


def _entry(path: Path, kind: str, record: Mapping[str, Any]) -> StoreEntry:
    size, used, names = path.lstat().st_size * path.is_file(), path.lstat().st_mtime, []
    for place, _, files in os.walk(path):
        names += files
        for own in (place, *(os.path.join(place, name) for name in files)):
            with suppress(FileNotFoundError):  # a process is writing here
                facts = os.lstat(own)
                size += facts.st_size * (own != place)
                used = used if os.path.basename(own).startswith(".") else max(used, facts.st_mtime)  # locks
    made = (path / RECORD).lstat().st_mtime if record else used
    keys = {path.name.rpartition("-")[2]} if FOLDER.fullmatch(path.name) else set()
    if record.get("key") == path.name:  # a baseline; as a teacher it has another key, in the names of its logits
        keys |= {key for name in names for key in _KEY.findall(name)}
    return StoreEntry(path, kind, record, size, made, used, frozenset(keys))


def _runs(places: Iterable[Path], root: Path) -> Iterator[tuple[Path, set[str]]]:
    """Yield the folders of runs and sweeps, and the keys in their files; what lies in a store is none.

    Links are followed: the runs of a cluster may lie on another disk. Each folder is read once.
    """
    seen = {root.resolve()}
    for start in {place.resolve() for place in places}:
        for place, folders, files in os.walk(start, followlinks=True):
            here = Path(place).resolve()
            if here in seen:
                folders.clear()
                continue
            seen.add(here)
            folders[:] = [name for name in folders if not name.startswith(".") and not (here / name / RECORD).is_file()]
            if not {*_OF_A_RUN}.isdisjoint(files):
                read = [here / name for name in files if name.endswith(".json")]
                yield here, {key for path in read for key in _KEY.findall(path.read_text("utf-8", "replace"))}


def _uses(root: Path) -> Iterator[tuple[Path, Path, set[str]]]:
    """Yield the files of `clinlm.store.content.used_by`: path, folder of the run, names of what it uses."""
    place = root / USES
    if place.is_dir() and not os.access(place, os.R_OK | os.X_OK):
        raise DataError(f"{place} tells what other runs use, and cannot be read; ask its owner")
    for path in sorted(place.glob("[!.]*.json")):
        try:
            content = read_digested(path)
            yield path, Path(content["run"]), {str(name) for name in content["folders"]}
        except (DataError, KeyError, TypeError) as error:
            raise DataError(
                f"{path} must name a run and what it uses, and is damaged; remove it, and name the place of all runs "
                "with runs=FOLDER"
            ) from error
