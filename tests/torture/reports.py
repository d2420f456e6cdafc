"""JSON of a run, a sweep and their stages, changed in one place but well-formed: no report uses it."""

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from support.broken_models import WAYS

from torture.forks import Ended, clinlm_run, forked
from torture.subjects import SUBJECTS
from torture.verdicts import Verdict


class _Reported(NamedTuple):
    """A folder that reports are made of: what `clinlm report` calls it, its command, and its place beside the store."""

    word: str
    subject: str
    place: str


_REPORTED: Final = (
    _Reported("run", "c", "run"),
    _Reported("sweep", "a sweep", "sweep"),
    _Reported("sweep", "a study of Optuna", "sweep"),
)
_WRITTEN: Final = {
    "html": ("report.html",),
    "clinical": ("clinical.md", "clinical.json", "applied_model_card.xml"),
    "hf": ("hf/README.md", "hf/config.json"),
}
"""Kind of report -> the files that it writes."""


def broken_reports(place: Path, count: int, rng: random.Random) -> Iterator[Verdict]:
    """Change `count` JSON files in turn, of a run, its stages, a sweep and a study, and make a report after each."""
    subjects = {subject.name: subject for subject in SUBJECTS}
    shares = (count - count // 4 - count // 8, count // 4, count // 8)
    for number, (own, share) in enumerate(zip(_REPORTED, shares, strict=True)):
        if share:
            whole = subjects[own.subject].whole().place
            yield from _changed(own, whole, place / str(number), share, rng)


def _changed(own: _Reported, whole: Path, place: Path, count: int, rng: random.Random) -> Iterator[Verdict]:
    shutil.copytree(whole, place, symlinks=True)
    unbroken = {kind: _reported(own, place, kind) for kind in _WRITTEN}
    texts = {kind: _texts(place / own.place, kind) for kind in _WRITTEN}
    if failed := [ended.told for ended in unbroken.values() if ended.status != 0]:
        raise RuntimeError(f"reports must be made before they are attacked, one ended with:\n{failed[0]}")
    made = {name for names in _WRITTEN.values() for name in names}
    files = [
        path for path in (place / own.place).rglob("*.json") if str(path.relative_to(place / own.place)) not in made
    ]
    files = sorted([*(path for path in files if "hf" not in path.parts), *whole.glob("store/*/report.json")])
    for number in range(count):
        path, kind = rng.choice(files), [*_WRITTEN][number % len(_WRITTEN)]
        before = path.read_bytes()
        _replace(path, WAYS["retyped"](before, rng) or b"")
        ended = _reported(own, place, kind)
        _replace(path, before)
        outcome = ended.broken or _judged(ended, path, _texts(place / own.place, kind) == texts[kind])
        name = path.relative_to(place if path.is_relative_to(place) else whole)
        yield Verdict(f"{own.word}, {kind}: {name}", outcome, outcome in _GOOD, ended.told)


_GOOD: Final = ("refused by name", "not read: as unbroken")


def _judged(ended: Ended, path: Path, equal: bool) -> str:
    if ended.status == 0:
        return "not read: as unbroken" if equal else "used"
    return "refused by name" if str(path) in ended.told.replace("\n", "") else "refused without its name"


def _reported(own: _Reported, place: Path, kind: str) -> Ended:
    for name in _WRITTEN[kind]:
        (place / own.place / name).unlink(missing_ok=True)
    shutil.rmtree(place / own.place / "hf", ignore_errors=True)  # it is written into no folder that is there
    return forked(clinlm_run("report", kind, f"{own.word}={place / own.place}"), place / "fork")


def _texts(folder: Path, kind: str) -> list[bytes]:
    return [path.read_bytes() for name in _WRITTEN[kind] for path in [folder / name] if path.is_file()]


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_name(f"{path.name}.new")
    draft.write_bytes(content)
    os.replace(draft, path)
