"""A full disk at any write: the run says so and ends, and with more room goes on to what an undisturbed one made."""

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

from torture.forks import forked
from torture.runs import difference, pipeline, unbroken
from torture.verdicts import Verdict


def needs_root() -> str:
    """Return why no disk can be filled here; "" if one can."""
    return "" if hasattr(os, "geteuid") and os.geteuid() == 0 else "skipped: needs root, to mount a small tmpfs"


def full_disks(place: Path, count: int, rng: random.Random) -> Iterator[Verdict]:
    """Fill `count` disks of random sizes, each too small for the run."""
    whole, small = unbroken().place, place / "small"
    need = sum(path.stat().st_size for path in whole.rglob("*") if path.is_file()) // 1024
    small.mkdir()
    for _ in range(count):
        size = rng.randrange(64, need)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "torture", small], check=True, timeout=60)
        try:
            yield _filled(small / "own", whole, place / "told", size)
        finally:
            subprocess.run(["umount", small], check=True, timeout=60)


def _filled(own: Path, whole: Path, told: Path, size: int) -> Verdict:
    attack = f"a disk of {size:,} kB"
    first = forked(pipeline(own), told)
    if first.broken or (first.status != 0 and "No space left" not in first.told):
        return Verdict(attack, first.broken or "ended without a word on the disk", False, first.told)
    subprocess.run(["mount", "-o", "remount,size=1G", own.parent], check=True, timeout=60)
    second = forked(pipeline(own), told)
    if second.status != 0:
        return Verdict(attack, "did not go on with more room", False, second.told)
    wrong = difference(own, whole)
    return Verdict(attack, "ended otherwise" if wrong else "said so, and went on with more room", not wrong, wrong)
