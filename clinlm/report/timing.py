"""How latencies look in a report: what they were measured on, and the mark of a disturbed measurement."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

from clinlm.metrics.latency import BUSY, Latency, busy_share
from clinlm.report import cells

Busy = Literal["mark", "refuse"]
"""What becomes of latencies measured while other processes used more than `BUSY` of the cores."""

MARK: Final = "?"
"""Behind a number that was measured while other processes used more than `BUSY` of the cores."""


def judge_latencies(times: Mapping[str, Latency], busy: Busy) -> tuple[Mapping[str, Latency], list[str]]:
    """Return the latencies that a report shows, and the notice about what they were measured on.

    Args:
        times: by the name of the result, all measured together.
        busy: `refuse` drops them where other processes disturbed the measurement.
    """
    latencies = [*times.values()]
    if not latencies:
        return times, []
    line = f"{measured_on(latencies)}; p50 is from text to decisions, network from token ids to logits"
    if not any(own.disturbed for own in latencies):
        return times, [line]
    if busy == "refuse":
        return {}, [
            f"no latency: {_load(latencies)} while it was measured, report.busy=refuse allows {BUSY:.0%}; run the same "
            "command again on an idle machine: trained models are reused"
        ]
    return times, [
        f"{line}; {MARK} marks numbers that this load (over {BUSY:.0%}) may have changed; "
        "engines and dominating rows are compared by processor time"
    ]


def measured_on(latencies: Sequence[Latency]) -> str:
    """Return on what latencies were measured together, at least one: processor, threads, load and date."""
    hardware = latencies[0].hardware
    where, date = ("timed", "") if hardware is None else (f"timed on {hardware}", f", {hardware.date}")
    return f"{where}, {_load(latencies)}{date}"


def _load(latencies: Sequence[Latency]) -> str:
    share = busy_share(latencies)
    return "load by other processes unknown" if share is None else f"other processes used {share:.0%} of the cores"


def explanation(latencies: Iterable[Latency | None]) -> str:
    """Return a sentence about the mark, for a table that has it; else ""."""
    if not any(own is not None and own.disturbed for own in latencies):
        return ""
    return f" {MARK}: timed while other processes used more than {BUSY:.0%} of the cores."


def p50_cell(latency: Latency | None) -> str:
    """Return the median time from text to decisions, in ms."""
    return marked(cells.three(None if latency is None else latency.p50_ms), latency)


def network_cell(latency: Latency | None) -> str:
    """Return the part of it that is the network's, in ms; "–" for a model without one."""
    return marked(cells.three(None if latency is None else latency.network_p50_ms), latency)


def speedup_cell(latency: Latency | None) -> str:
    """Return the speed-up over the reference."""
    return marked(cells.three(None if latency is None else latency.speedup), latency)


def marked(shown: str, latency: Latency | None) -> str:
    """Return a cell that depends on a latency, marked where that was disturbed."""
    return f"{shown}{MARK}" if latency is not None and latency.disturbed and shown != cells.NONE else shown
