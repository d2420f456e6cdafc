"""Latency of several models on the same documents, timed alternately in one process at batch size 1."""

import gc
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, final

import numpy as np
from jaxtyping import Float

from clinlm.config.errors import ConfigError
from clinlm.metrics.hardware import Hardware

T = TypeVar("T")
Encoded = TypeVar("Encoded")
Outputs = TypeVar("Outputs")

RESAMPLES = 1000
TURN = 16
"""Consecutive documents of one model before the next model runs."""

BUSY = 0.1
"""Share of the cores used by other processes above which a latency is disturbed."""

SHORTEST_S = 0.2
"""Shortest run with a measured share: the system counts processor time in steps of 10 ms."""


@final
@dataclass(frozen=True)
class Phased(Generic[T, Encoded, Outputs]):
    """A model whose network is timed separately, in the same call.

    Attributes:
        encode: input -> what the network reads, such as collated token ids.
        network: what `encode` returned -> its outputs, such as logits.
        decide: both -> the answer.
    """

    encode: Callable[[T], Encoded]
    network: Callable[[Encoded], Outputs]
    decide: Callable[[Encoded, Outputs], object]

    def __call__(self, value: T) -> object:
        encoded = self.encode(value)
        return self.decide(encoded, self.network(encoded))


@dataclass(frozen=True)
class Latency:
    """Time per document of one model, and its speed-up over a reference timed in the same run.

    Attributes:
        p50_ms: median over documents.
        documents: number timed.
        speedup: p50 of the reference / p50 of this model; 1 for the reference.
        speedup_low: 2.5th percentile of `speedup` under a paired bootstrap over documents.
        speedup_high: 97.5th percentile.
        busy: share of all cores in [0, 1] used by other processes; None where /proc/stat is missing or the run was
            shorter than `SHORTEST_S`.
        processor_ms: median over documents of the processor time of this process, all threads together: other processes
            lengthen it little.
        network_p50_ms: median over documents of the network's part, from token ids to logits; None for a model that is
            not `Phased` (TF-IDF, ensembles).
        hardware: that it was measured on; None where that is not known.
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
    processor_ms: float | None = None
    network_p50_ms: float | None = None
    hardware: Hardware | None = None

    @property
    def disturbed(self) -> bool:
        """Whether other processes used more than `BUSY` of the cores."""
        return self.busy is not None and self.busy > BUSY


def measure(
    models: Mapping[str, Callable[[T], object] | Phased[T, Any, Any]],
    inputs: Sequence[T],
    warmup: int = 5,
    passes: int = 3,
    reference: str | None = None,
    seed: int = 0,
    advance: Callable[[], None] | None = None,
) -> dict[str, Latency]:
    """Time every model on every input, one input at a time.

    Models alternate every `TURN` documents in random order, so that a slow moment of the machine favours none. Shorter
    turns would evict a small model's weights from the caches. A document's time is the median over the passes; a pass
    covers all documents, so that a disturbance of seconds affects one value. Each turn starts with two untimed calls,
    while threads of the previous model still spin.

    Args:
        models: name -> callable that returns the answer to one input; it must synchronise a GPU before it returns. The
            caller sets threads and precision. Of a `Phased` model the network is timed as well.
        inputs: the documents; latency depends on their lengths.
        warmup: untimed inputs per model before the first pass.
        passes: timed rounds over all inputs.
        reference: the model that the speed-ups refer to; None takes the first.
        seed: of the orders and of the bootstrap.
        advance: untimed callback per document and pass, for a progress bar.

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
    return _summary(list(models), seen, reference, seed, started.busy(_Clock.read()))


def parted(sizes: Mapping[str, int], reference: str, most: int) -> list[list[str]]:
    """Return names in groups that are held in memory, and measured, one after another: in order, the reference in each.

    Args:
        sizes: name -> bytes.
        most: bytes of a group together, its largest member aside: it has one besides the reference at least.
    """
    groups, left = [[reference]], most - sizes[reference]
    for name, size in sizes.items():
        if name != reference:
            if len(groups[-1]) > 1 and size > left:
                groups.append([reference])
                left = most - sizes[reference]
            groups[-1].append(name)
            left -= size
    return groups


def _summary(
    names: Sequence[str],
    seen: Float[np.ndarray, "3 passes documents models"],
    reference: str,
    seed: int,
    busy: float | None,
) -> dict[str, Latency]:
    wall, processor, network = np.median(seen, axis=1)
    documents_ms = {name: wall[:, place] for place, name in enumerate(names)}
    ratios = _speedups(documents_ms, reference, np.random.default_rng(seed))
    used, inside = (np.median(each, axis=0).tolist() for each in (processor, network))
    hardware = Hardware.of_this_process()
    return {
        name: _latency(documents_ms[name], *ratios[name], busy, used[place], _known(inside[place]), hardware)
        for place, name in enumerate(names)
    }


def busy_share(latencies: Iterable[Latency]) -> float | None:
    """Return the share of the cores that other processes used during a measurement; None if that is not known."""
    return max((own.busy for own in latencies if own.busy is not None), default=None)


def load_now(seconds: float = 1.5 * SHORTEST_S) -> float | None:
    """Return the share of the cores that other processes use during the next `seconds`; None if that is not known."""
    started = _Clock.read()
    time.sleep(seconds)
    return started.busy(_Clock.read())


def by_processor_time(latencies: Sequence[Latency]) -> bool:
    """Return whether models have to be compared by processor time: other processes disturbed the clock."""
    return any(own.disturbed for own in latencies) and all(own.processor_ms is not None for own in latencies)


def _rounds(
    models: Mapping[str, Callable[[T], object] | Phased[T, Any, Any]],
    inputs: Sequence[T],
    passes: int,
    orders: np.random.Generator,
    advance: Callable[[], None] | None,
) -> Float[np.ndarray, "3 passes documents models"]:
    """Return the milliseconds of every call: by the clock, of the processor, and of the network (NaN: not `Phased`)."""
    calls, seen = list(models.values()), np.empty((3, passes, len(inputs), len(models)))
    for number in range(passes):
        for first in range(0, len(inputs), TURN):
            turn = range(first, min(first + TURN, len(inputs)))
            for place in orders.permutation(len(calls)):
                call = calls[place]
                for document in (turn[-1], turn[0]):
                    call(inputs[document])
                for document in turn:
                    start, used = time.perf_counter_ns(), time.process_time_ns()
                    network = _run(call, inputs[document])
                    end = time.perf_counter_ns()
                    seen[:, number, document, place] = end - start, time.process_time_ns() - used, network
            if advance is not None:
                for _ in turn:
                    advance()
    return seen / 1e6


def _run(call: Callable[[T], object] | Phased[T, Any, Any], value: T) -> float:
    """Run a model, and return the nanoseconds of its network, NaN where it is not `Phased`."""
    if not isinstance(call, Phased):
        call(value)
        return math.nan
    encoded = call.encode(value)
    start = time.perf_counter_ns()
    outputs = call.network(encoded)
    end = time.perf_counter_ns()
    call.decide(encoded, outputs)
    return end - start


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _speedups(
    documents_ms: Mapping[str, Float[np.ndarray, " documents"]], reference: str, random: np.random.Generator
) -> dict[str, tuple[float, float, float]]:
    """Return the ratio of medians and its 95 % interval per model, on the same resampled documents."""
    count = len(documents_ms[reference])
    rows = random.integers(count, size=(RESAMPLES, count))
    medians = {name: np.median(each[rows], axis=1) for name, each in documents_ms.items()}
    ratios = {}
    for name, each in documents_ms.items():
        low, high = np.percentile(medians[reference] / medians[name], (2.5, 97.5))
        ratios[name] = (float(np.median(documents_ms[reference]) / np.median(each)), float(low), float(high))
    return ratios


def _latency(
    documents_ms: Float[np.ndarray, " documents"], speedup: float, low: float, high: float, *facts: Any
) -> Latency:
    p50, p90, p99 = (float(value) for value in np.percentile(documents_ms, (50, 90, 99)))
    return Latency(p50, p90, p99, float(documents_ms.mean()), len(documents_ms), speedup, low, high, *facts)


@contextmanager
def _collection_paused() -> Iterator[None]:
    """Disable garbage collection, as timeit does: it would be charged to one model."""
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
    """Processor seconds of this process and of the machine (None without /proc/stat)."""

    wall: float
    own: float
    machine: float | None
    cores: int

    @classmethod
    def read(cls) -> "_Clock":
        stat = Path("/proc/stat")
        lines = stat.read_text().splitlines() if stat.is_file() else []
        ticks = [int(tick) for line in lines if line.startswith("cpu ") for tick in line.split()[1:9]]
        # user nice system idle iowait irq softirq steal: all but idle and iowait is work.
        machine = (sum(ticks) - sum(ticks[3:5])) / os.sysconf("SC_CLK_TCK") if len(ticks) == 8 else None
        cores = sum(line.startswith("cpu") for line in lines) - 1
        return cls(time.perf_counter(), time.process_time(), machine, cores)

    def busy(self, later: "_Clock") -> float | None:
        """Return the share of the cores that other processes used until `later`, in [0, 1]."""
        wall = later.wall - self.wall
        if self.machine is None or later.machine is None or self.cores < 1 or wall < SHORTEST_S:
            return None
        others = (later.machine - self.machine) - (later.own - self.own)
        return min(1.0, max(0.0, others / (wall * self.cores)))
