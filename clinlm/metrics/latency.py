"""Latency of several models on the same documents, timed by turns in one process at batch 1."""

import gc
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Float

from clinlm.config.errors import ConfigError

T = TypeVar("T")

RESAMPLES = 1000
TURN = 16
"""Documents that a model answers before the next one has its turn."""

BUSY = 0.1
"""Share of the machine taken by other processes above which `notice` speaks."""

SHORTEST_S = 0.2
"""The system counts processor time in steps of 10 ms: a share taken over less than this says nothing."""


@dataclass(frozen=True)
class Latency:
    """Time per document of one model, beside a reference timed in the same run.

    Attributes:
        p50_ms: median over documents.
        p90_ms: 90th percentile over documents.
        p99_ms: 99th percentile over documents.
        mean_ms: mean over documents.
        documents: how many were timed.
        speedup: p50 of the reference / p50 of this model; 1 for the reference.
        speedup_low: 2.5th percentile of that ratio under a paired bootstrap over documents.
        speedup_high: 97.5th percentile.
        busy: share of all cores (0 to 1) that other processes took in the run; None where the system does not say, or
            the run was shorter than `SHORTEST_S`.
    """

    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float
    documents: int
    speedup: float
    speedup_low: float
    speedup_high: float
    busy: float | None = None


def measure(
    models: Mapping[str, Callable[[T], object]],
    inputs: Sequence[T],
    warmup: int = 5,
    passes: int = 3,
    reference: str | None = None,
    seed: int = 0,
    advance: Callable[[], None] | None = None,
) -> dict[str, Latency]:
    """Time every model on every input, one input at a time.

    Models take turns of `TURN` documents, in an order drawn anew each time: a slow moment of the machine favours none
    of them, and yet each answers one document after another, as in use. (After every document of another, a small
    model finds its weights pushed out of the caches.) A document's time is the median over the passes; a pass goes
    through all documents, so that a disturbance of seconds spoils one value. Before its turn a model gives two
    answers that are not timed: threads of the one before still wait actively till then.

    Args:
        models: name -> what maps one input to an answer. It must return only when the answer is there (synchronise a
            GPU inside), and does everything whose time is to count. Threads and precision are as the caller set them.
        inputs: the documents, with the length distribution that is to be reported on.
        warmup: untimed inputs per model before the first pass (the first ones, from the start again if too few).
        passes: timed rounds over all inputs.
        reference: the model that the speed-ups refer to; None takes the first.
        seed: of the orders and of the bootstrap.
        advance: called once per document and pass, for a progress bar; its time is not counted.

    Raises:
        ValueError: there is no model or input, or `reference` is not among the models.
        ConfigError: `passes` < 1 or `warmup` < 0.
    """
    reference = next(iter(models), "") if reference is None else reference
    if reference not in models or not len(inputs):
        raise ValueError(
            f"latency needs inputs and a reference among the models, got {len(inputs)} inputs and reference "
            f"{reference!r} for {', '.join(models) or 'no model'}"
        )
    if passes < 1 or warmup < 0:
        raise ConfigError(f"passes must be >= 1 and warmup >= 0, got {passes} and {warmup}")
    for index in range(warmup):
        for model in models.values():
            model(inputs[index % len(inputs)])
    started = _Clock.read()
    with _collection_paused():
        seen = _rounds(models, inputs, passes, np.random.default_rng(seed), advance)
    busy = started.busy(_Clock.read())
    documents_ms = {name: np.median(seen[:, :, place], axis=0) for place, name in enumerate(models)}
    ratios = _speedups(documents_ms, reference, np.random.default_rng(seed))
    return {name: _latency(each, *ratios[name], busy=busy) for name, each in documents_ms.items()}


def notice(latencies: Mapping[str, Latency]) -> str | None:
    """A warning for the report where other processes disturbed the run, else None."""
    busy = max((each.busy for each in latencies.values() if each.busy is not None), default=0.0)
    if busy <= BUSY:
        return None
    return f"other processes used {busy:.0%} of the cores while latency was measured: read it with care"


def _rounds(
    models: Mapping[str, Callable[[T], object]],
    inputs: Sequence[T],
    passes: int,
    orders: np.random.Generator,
    advance: Callable[[], None] | None,
) -> Float[np.ndarray, "passes documents models"]:
    """Milliseconds of every call."""
    calls, seen = list(models.values()), np.empty((passes, len(inputs), len(models)))
    for number in range(passes):
        for first in range(0, len(inputs), TURN):
            turn = range(first, min(first + TURN, len(inputs)))
            for place in orders.permutation(len(calls)):
                call = calls[place]
                for document in (turn[-1], turn[0]):
                    call(inputs[document])
                for document in turn:
                    start = time.perf_counter_ns()
                    call(inputs[document])
                    seen[number, document, place] = (time.perf_counter_ns() - start) / 1e6
            if advance is not None:
                for _ in turn:
                    advance()
    return seen


def _speedups(
    documents_ms: Mapping[str, Float[np.ndarray, " documents"]], reference: str, random: np.random.Generator
) -> dict[str, tuple[float, float, float]]:
    """Ratio of medians and its 95 % interval, all models on the same resampled documents."""
    count = len(documents_ms[reference])
    rows = random.integers(count, size=(RESAMPLES, count))
    medians = {name: np.median(each[rows], axis=1) for name, each in documents_ms.items()}
    ratios = {}
    for name, each in documents_ms.items():
        low, high = np.percentile(medians[reference] / medians[name], (2.5, 97.5))
        ratios[name] = (float(np.median(documents_ms[reference]) / np.median(each)), float(low), float(high))
    return ratios


def _latency(
    documents_ms: Float[np.ndarray, " documents"], speedup: float, low: float, high: float, busy: float | None
) -> Latency:
    p50, p90, p99 = (float(each) for each in np.percentile(documents_ms, (50, 90, 99)))
    return Latency(p50, p90, p99, float(documents_ms.mean()), len(documents_ms), speedup, low, high, busy)


@contextmanager
def _collection_paused() -> Iterator[None]:
    """As timeit does: a garbage collection would hit whichever model happens to run."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@dataclass(frozen=True)
class _Clock:
    """Processor seconds so far: of this process, and of the whole machine (None where /proc/stat does not tell)."""

    wall: float
    own: float
    machine: float | None
    cores: int

    @classmethod
    def read(cls) -> "_Clock":
        stat = Path("/proc/stat")
        lines = stat.read_text().splitlines() if stat.is_file() else []
        ticks = [int(each) for line in lines if line.startswith("cpu ") for each in line.split()[1:9]]
        # user nice system idle iowait irq softirq steal: all but idle and iowait is work; steal is another machine's.
        machine = (sum(ticks) - sum(ticks[3:5])) / os.sysconf("SC_CLK_TCK") if len(ticks) == 8 else None
        cores = sum(line.startswith("cpu") for line in lines) - 1
        return cls(time.perf_counter(), time.process_time(), machine, cores)

    def busy(self, later: "_Clock") -> float | None:
        """Share of the cores that others took from this reading to a later one, in [0, 1]."""
        wall = later.wall - self.wall
        if self.machine is None or later.machine is None or self.cores < 1 or wall < SHORTEST_S:
            return None
        others = (later.machine - self.machine) - (later.own - self.own)
        return min(1.0, max(0.0, others / (wall * self.cores)))
