"""Files and folders of a store, a study and a run, broken in turn: found, named, and made again or refused."""

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from support.broken_models import WAYS

from clinlm.store.inventory import FOLDER
from torture.forks import Ended, forked
from torture.subjects import SUBJECTS, Subject
from torture.verdicts import Verdict

_LEARNS: Final = "store/student-*"
"""The stage of pipeline c that learns from the logits of another."""

_BYTES = {name: way for name, way in WAYS.items() if name != "retyped"}
Way = Callable[[Path, Path, random.Random], bool]
"""Breaks a file or a folder, its second argument holds all that was written; returns whether there is now another."""


def _exchanged(path: Path, place: Path, rng: random.Random) -> bool:
    """Give a file the content of another one of its name; False where there is none with other content."""
    own = path.read_bytes()
    others = [one for one in sorted(place.rglob(path.name)) if one.is_file() and one.read_bytes() != own]
    if others:
        shutil.copyfile(rng.choice(others), path)
    return bool(others)


def _linked(path: Path, place: Path, rng: random.Random) -> bool:
    """Replace a file or folder by a link to its content elsewhere."""
    path.rename(place / "elsewhere")
    path.symlink_to(place / "elsewhere")
    return True


def _removed(path: Path, place: Path, rng: random.Random) -> bool:
    shutil.rmtree(path)
    return True


def _emptied(path: Path, place: Path, rng: random.Random) -> bool:
    shutil.rmtree(path)
    path.mkdir()
    return True


def _swapped(path: Path, place: Path, rng: random.Random) -> bool:
    """Let two folders of what was built exchange their names."""
    built = [one for one in sorted(path.parent.iterdir()) if FOLDER.fullmatch(one.name)]
    others = [one for one in built if one != path] if path in built else []
    if others:
        other = rng.choice(others)
        path.rename(place / "third")
        other.rename(path)
        (place / "third").rename(other)
    return bool(others)


def _a_file(path: Path, place: Path, rng: random.Random) -> bool:
    shutil.rmtree(path)
    path.write_bytes(b"no folder")
    return True


_FILES: Final[dict[str, Way]] = {"exchanged": _exchanged, "linked": _linked}
_FOLDERS: Final[dict[str, Way]] = {
    "removed": _removed,
    "emptied": _emptied,
    "swapped": _swapped,
    "linked": _linked,
    "a file": _a_file,
}


class Target(NamedTuple):
    """What of a command's files is broken.

    Attributes:
        words: what it is.
        subject: name of the command.
        parts: a finished folder -> files or folders in it, to break.
        share: of all attacks, relative to the other targets'.
        refused: whether the command may refuse what is broken: where nothing can make it again.
        outputs: names of files that are removed first, so that the command reads what is broken.
    """

    words: str
    subject: str
    parts: Callable[[Path], list[Path]]
    share: int
    refused: bool = False
    outputs: str = ""


def _in(folder: str) -> Callable[[Path], list[Path]]:
    """Return what lists the files of a folder."""

    def files(place: Path) -> list[Path]:
        found = sorted((place / folder).rglob("*"))
        return [path for path in found if path.is_file() and not path.name.startswith(".")]

    return files


def _folders(place: Path) -> list[Path]:
    """List the folders of a store, but the one of protocols: without it a margin is told to be fixed too late."""
    found = sorted(path for path in (place / "store").iterdir() if path.is_dir())
    return [path for path in found if not path.name.startswith(".") and path.name != "protocols"]


def _deployed(place: Path) -> list[Path]:
    return [path for path in _in("store")(place) if (path.parent / "deployment.json").exists()]


_TARGETS: Final = (
    Target("store", "c", _in("store"), 8),
    Target("deployment", "engine=auto", _deployed, 1),
    Target("study", "a study of Optuna", _in("studies"), 2, refused=True),
    Target("folder", "c", _folders, 3),
    Target("answers", "label", _in("store"), 2, outputs="labels.jsonl*"),
    Target("run", "report html", _in("run"), 4, refused=True, outputs="run/report.html"),
)


def damage(place: Path, count: int, rng: random.Random) -> Iterator[Verdict]:
    """Break `count` files and folders, each in a copy of what a finished command left: all in all ways in turn."""
    whole, before = sum(target.share for target in _TARGETS), 0
    subjects = {subject.name: subject for subject in SUBJECTS}
    for number, target in enumerate(_TARGETS):
        share = sum(one.share for one in _TARGETS[: number + 1]) * count // whole
        if share > before:
            yield from _damaged(target, subjects[target.subject], place / "own", share - before, rng)
        before = share


def _damaged(target: Target, subject: Subject, own: Path, count: int, rng: random.Random) -> Iterator[Verdict]:
    whole = subject.whole().place
    parts = target.parts(whole)
    pairs = [(path, way) for path in parts for way in (_FOLDERS if path.is_dir() else (*_BYTES, *_FILES))]
    rng.shuffle(pairs)
    for path, way in (pairs * (1 + count // len(pairs)))[:count]:
        shutil.rmtree(own, ignore_errors=True)
        shutil.copytree(whole, own, symlinks=True)
        for output in own.glob(target.outputs) if target.outputs else ():
            output.unlink()
        name = path.relative_to(whole)
        if (own / name).exists() and _broken(own / name, own, way, rng):
            ended = forked(subject.run(own), own)
            if ended.status == 0 and "logits" in name.parts and _differs(own / name, path):
                for folder in own.glob(_LEARNS):  # nothing had to read them; now they are learned from again
                    shutil.rmtree(folder)
                ended = forked(subject.run(own), own)
            yield _verdict(target, subject, f"{way}: {name}", ended, own)


def _differs(path: Path, whole: Path) -> bool:
    return path.is_file() and path.read_bytes() != whole.read_bytes()


def _broken(path: Path, place: Path, way: str, rng: random.Random) -> bool:
    """Break a file or folder; return whether it is another one than before."""
    if path.is_dir():
        return _FOLDERS[way](path, place, rng)
    if way in _FILES:
        return _FILES[way](path, place, rng)
    before = path.read_bytes()
    content = _BYTES[way](before, rng)
    if content is None:
        path.unlink()
    else:
        draft = path.with_name(f"{path.name}.new")
        draft.write_bytes(content)
        os.replace(draft, path)
    return content != before


def _verdict(target: Target, subject: Subject, attack: str, ended: Ended, own: Path) -> Verdict:
    attack = f"{subject.name}: {attack}"
    if ended.broken or ended.status not in (0, 1):
        return Verdict(attack, f"{target.words} {ended.broken or 'the command died'}", False, ended.told)
    if ended.status:
        return Verdict(attack, f"{target.words} refused", target.refused, ended.told)
    wrong = "" if target.refused else subject.difference(own, subject.whole().place)
    if wrong:
        return Verdict(attack, f"{target.words} not found", False, f"{wrong}\n{ended.told}")
    words = ("moved to", "measuring again", "computed again", "made again", "set aside")
    said = any(word in ended.told for word in words)
    return Verdict(attack, f"{target.words} {'named and made again' if said else 'not read, or written anew'}", True)
