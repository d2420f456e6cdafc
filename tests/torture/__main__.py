"""`make torture`: attack clinlm, print what came of it as a table, and write it to build/torture.md.

`make torture ARGS="kills=500 seed=7"` sets how many attacks of a kind there are (0 leaves it out), and which.
"""

import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

os.environ |= {"OMP_NUM_THREADS": "1", "CI": "true", "COLUMNS": "200", "RUST_BACKTRACE": "0"}

import torch

import clinlm.cli.run
import clinlm.models.model
import clinlm.report.command  # noqa: F401  before the forks, which share them
from clinlm.config.errors import ConfigError
from clinlm.metrics.hardware import Hardware
from torture.clock import clocks
from torture.damage import damage
from torture.determinism import determinism
from torture.disk import full_disks, needs_root
from torture.fuzz import fuzzed, needs_atheris
from torture.inputs import broken_inputs
from torture.kills import kills
from torture.models import broken_models
from torture.others import others
from torture.privacy import privacy
from torture.reports import broken_reports
from torture.soak import soak
from torture.verdicts import Tally, Verdict, markdown

Attack = Callable[[Path, int, random.Random], Iterator[Verdict]]


class Kind(NamedTuple):
    """A kind of attack, in words, how many of it there are, and why there can be none here ("" if there can)."""

    words: str
    run: Attack
    count: int
    missing: Callable[[], str] = lambda: ""


# Inputs are read in this process, which starts threads of polars: nothing may fork after them.
KINDS: Final = {
    "kills": Kind("a command killed at random moments (five of six by SIGKILL, the others by SIGTERM)", kills, 100),
    "damage": Kind(
        "a file or folder of a store, study or run broken, cut, deleted, made a pickle, exchanged, linked", damage, 80
    ),
    "models": Kind("a file of a model given to clinlm predict, broken, retyped, deleted", broken_models, 300),
    "reports": Kind(
        "JSON of a run, a sweep or a study, well-formed, a field renamed, retyped, taken or added", broken_reports, 150
    ),
    "disk": Kind("a disk that fills up during a run", full_disks, 10, needs_root),
    "clock": Kind("a clock set back an hour during a run", clocks, 6),
    "others": Kind("others on the store: a run killed or stopped, another version, no locks", others, 7),
    "privacy": Kind("names, ids and patients planted in notes, looked for outside of the store", privacy, 100),
    "determinism": Kind("the same command twice, in two folders, on one thread and on two", determinism, 4),
    "soak": Kind("clinlm predict over a long file of notes, killed ten times and continued", soak, 20_000),
    "fuzz": Kind(
        "bytes given to a parser by a fuzzer that keeps those which reach new branches", fuzzed, 20_000, needs_atheris
    ),
    "inputs": Kind(
        "files of notes, labels, spans, terms, corpora and settings with bytes changed", broken_inputs, 20_000
    ),
}


def main(words: list[str]) -> int:
    """Run the attacks; return 1 if one was not survived."""
    asked = dict(word.split("=", 1) for word in words)
    if unknown := asked.keys() - KINDS.keys() - {"seed"}:
        raise ConfigError(f"attacks are {', '.join(KINDS)}, got {', '.join(sorted(unknown))}")
    torch.set_num_threads(1)
    tallies, told, own = list[Tally](), "", Hardware.of_this_process()
    heading = f"{own.date}, seed {asked.get('seed', 0)}, {own.processor}, {own.cores} cores."
    Path("build").mkdir(exist_ok=True)
    for name, kind in KINDS.items():
        if count := int(asked.get(name, kind.count)):
            tallies.append(_tally(name, kind, count, int(asked.get("seed", 0))))
            told = markdown(tallies, heading)
            Path("build/torture.md").write_text(told, encoding="utf-8")
    print(f"\n{told}")
    return int(any(tally.failures for tally in tallies))


def _tally(name: str, kind: Kind, count: int, seed: int) -> Tally:
    began, verdicts, why = time.monotonic(), list[Verdict](), kind.missing()
    place = Path(tempfile.mkdtemp(prefix=f"torture-{name}-"))
    try:
        for verdict in kind.run(place, count, random.Random(seed)) if not why else ():
            verdicts.append(verdict)
            if not verdict.survived:
                print(f"\n{name}: {verdict.attack}: {verdict.outcome}\n{verdict.told[-3000:]}", flush=True)
            if (step := len(verdicts)) % 100 == 0 or count < 1000:
                print(f"\r{name}: {step:,}{'' if name == 'soak' else f' of {count:,}'}", end="", flush=True)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    print()
    return Tally(kind.words, verdicts, time.monotonic() - began, why)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
