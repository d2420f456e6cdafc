"""Every file of every folder of a store, broken in turn: the next run finds it, names it, and builds it again."""

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from support.broken_models import WAYS

from torture.forks import Ended, forked
from torture.runs import difference, pipeline, unbroken
from torture.verdicts import Verdict

_BYTES = {name: way for name, way in WAYS.items() if name != "retyped"}


def _exchanged(path: Path, place: Path, rng: random.Random) -> bool:
    """Give a file the content of another one of its name; False where there is none with other content."""
    own = path.read_bytes()
    others = [one for one in sorted((place / "store").rglob(path.name)) if one.read_bytes() != own]
    if others:
        shutil.copyfile(rng.choice(others), path)
    return bool(others)


def _linked(path: Path, place: Path, rng: random.Random) -> bool:
    """Replace a file by a link to its content elsewhere."""
    path.rename(place / "elsewhere")
    path.symlink_to(place / "elsewhere")
    return True


_OTHER: dict[str, Callable[[Path, Path, random.Random], bool]] = {"exchanged": _exchanged, "linked": _linked}


def damage(place: Path, count: int, rng: random.Random) -> Iterator[Verdict]:
    """Break `count` files, each in a copy of a finished store: all files in all ways in turn, in random order."""
    whole, own = unbroken().place, place / "own"
    files = sorted(path for path in (whole / "store").rglob("*") if path.is_file() and not path.name.startswith("."))
    ways = [(file, way) for way in (*_BYTES, *_OTHER) for file in files]
    rng.shuffle(ways)
    for file, way in (ways * (1 + count // len(ways)))[:count]:
        shutil.rmtree(own, ignore_errors=True)
        shutil.copytree(whole, own)
        path = own / file.relative_to(whole)
        if _broken(path, own, way, rng):
            yield _verdict(f"{way}: {path.relative_to(own)}", forked(pipeline(own), own), own, whole)


def _broken(path: Path, place: Path, way: str, rng: random.Random) -> bool:
    """Break a file; return whether it is another one than before."""
    if way in _OTHER:
        return _OTHER[way](path, place, rng)
    before = path.read_bytes()
    content = _BYTES[way](before, rng)
    if content is None:
        path.unlink()
    else:
        draft = path.with_name(f"{path.name}.new")
        draft.write_bytes(content)
        os.replace(draft, path)
    return content != before


def _verdict(attack: str, ended: Ended, own: Path, whole: Path) -> Verdict:
    if ended.broken or ended.status != 0:
        return Verdict(attack, ended.broken or "the run failed", False, ended.told)
    if wrong := difference(own, whole):
        return Verdict(attack, "not found", False, f"{wrong}\n{ended.told}")
    said = any(word in ended.told for word in ("moved to", "measuring again", "computed again", "made again"))
    return Verdict(attack, "found, named and made again" if said else "not read, or written anew", True)
