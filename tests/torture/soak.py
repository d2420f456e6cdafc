"""One long run of `clinlm predict`, killed ten times: memory stays flat, every id is answered once, as if unbroken."""

import csv
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from torture.forks import Begun, begun, clinlm_run, ended
from torture.runs import unbroken
from torture.subjects import files_differ
from torture.verdicts import Verdict

KILLS: Final = 10
_WORDS: Final = "fever cough wheeze gout aspirin no denies toe pain of the left chest urate 7 mg , .".split()
_TEXTS: Final = 5000
"""Different notes; more of them are the same again under other ids."""
_BROKEN_EVERY: Final = 9973
_MOST: Final = 7200.0
"""Seconds after which a run counts as hanging."""
_GROWTH_MIB: Final = 24.0
"""By how much more memory the second half of a run may hold than the first."""


def soak(place: Path, count: int, rng: random.Random) -> Iterator[Verdict]:
    """Answer `count` short notes twice: undisturbed, with its memory measured, and killed ten times."""
    own, whole = place / "own", place / "whole"
    for folder in (own, whole):
        (folder / "given").mkdir(parents=True)
    _write(whole / "given" / "notes.jsonl", count)
    os.link(whole / "given" / "notes.jsonl", own / "given" / "notes.jsonl")
    fork = begun(_predict(whole), whole)
    held = _memory(fork)
    first = ended(fork, most=_MOST)
    if first.broken or first.status != 0:
        yield Verdict("unbroken", first.broken or "failed by itself", False, first.told)
        return
    half = len(held) // 2
    grown = max(held[half:], default=0.0) - max(held[:half], default=0.0)
    flat = f"first half {max(held[:half], default=0.0):.0f} MiB, {grown:+.1f} in the second"
    yield Verdict(f"memory: {flat}", "unbroken, memory flat", grown <= _GROWTH_MIB, flat)
    wrong = _ids_wrong(whole / "answers.csv", count)
    yield Verdict("ids", "unbroken, every id once", not wrong, wrong)
    killed = list[str]()
    while True:
        moment = rng.uniform(0.0, 2 * first.seconds / (KILLS + 1)) if len(killed) < KILLS else None
        last = ended(begun(_predict(own), own), moment, most=_MOST)
        if last.signal != signal.SIGKILL or moment is None:
            break
        killed.append(f"killed after {moment:.2f} s")
    wrong = last.broken or ("" if last.status == 0 else "failed by itself") or files_differ()(own, whole)
    for attack in killed:
        yield Verdict(attack, f"killed, {count:,} notes answered as unbroken", not wrong, f"{wrong}\n{last.told}")
    shutil.rmtree(place)


def _predict(place: Path) -> Callable[[], None]:
    model = next((unbroken().place / "store").glob("tfidf_int8-*"))
    settings = [f"artifact={model}", f"input={place / 'given' / 'notes.jsonl'}", "threads=1"]
    return clinlm_run("predict", *settings, f"output={place / 'answers.csv'}")


def _write(path: Path, count: int) -> None:
    """Write notes with ids from 0; some lines cannot be read."""
    rng = random.Random(0)
    texts = [json.dumps(" ".join(rng.choices(_WORDS, k=rng.randint(4, 16)))) for _ in range(min(count, _TEXTS))]
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            broken = number % _BROKEN_EVERY == _BROKEN_EVERY - 1
            file.write('{"id": "x' if broken else f'{{"id": {number}, "text": {texts[number % len(texts)]}}}')
            file.write("\n")


def _memory(fork: Begun) -> list[float]:
    """Return the memory that a fork does not share with files, in MiB, every tenth of a second until it ends."""
    status, held = Path(f"/proc/{fork.number}/status"), list[float]()
    while True:
        found = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("RssAnon")]
        if not found:  # it has ended, and waits to be asked how
            return held
        held.append(int(found[0]) / 1024)
        time.sleep(0.1)


def _ids_wrong(path: Path, count: int) -> str:
    """Return what is wrong with the ids of answers: each that can be read once, in order; "" for nothing."""
    expected = (number for number in range(count) if number % _BROKEN_EVERY != _BROKEN_EVERY - 1)
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        place = next(rows).index("id")
        for number, (row, id) in enumerate(zip(rows, expected, strict=True)):
            if row[place] != str(id):
                return f"row {number:,} has the id {row[place]}, expected {id}"
    return ""
