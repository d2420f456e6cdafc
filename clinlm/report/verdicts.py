"""Which rows are judged for non-inferiority, and what a reader must know of the verdicts."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from clinlm.metrics.noninferiority import NonInferiority, corrected
from clinlm.pipeline.protocol import Protocol
from clinlm.pipeline.run_record import RunRecord
from clinlm.report.cells import spelled
from clinlm.report.results import ModelResult

Judge = Callable[[str, str, Protocol], NonInferiority]
"""From the names of a row and of its reference, and the protocol: the verdict on the row by itself."""


def with_verdicts(
    results: Sequence[ModelResult], runs: Sequence[RunRecord], stages: bool, judge: Judge
) -> list[ModelResult]:
    """Return the results, every compressed one with its verdict.

    In a sweep all compressed rows are one family, corrected by Holm's procedure. Of a single pipeline the claim is of
    the last model alone, so nothing is corrected; the verdicts on the others are shown as not claimed.

    Args:
        stages: whether the results are the stages of the only run.
    """
    protocols = {run.stages[-1].folder: run.protocol for run in reversed(runs)}
    found: dict[str, NonInferiority] = {}
    for own in results:
        protocol = runs[0].protocol if stages else protocols.get(own.lineage.folder)
        if protocol is not None and is_compressed(own):
            found[own.name] = judge(own.name, own.reference, protocol)
    if stages:
        found = {name: replace(own, claimed=name == results[-1].name) for name, own in found.items()}
    return corrected_together([replace(own, non_inferiority=found.get(own.name)) for own in results])


def corrected_together(results: Sequence[ModelResult]) -> list[ModelResult]:
    """Return the results with the claimed verdicts corrected as one family."""
    judged = {own.name: own.non_inferiority for own in results if own.non_inferiority is not None}
    claimed = {name: own for name, own in judged.items() if own.claimed}
    found = judged | dict(zip(claimed, corrected([*claimed.values()]), strict=True))
    return [replace(own, non_inferiority=found.get(own.name)) for own in results]


def is_compressed(result: ModelResult) -> bool:
    """Return whether a row is a model that something made smaller, or its deployment: no teacher, no baseline."""
    compressed = result.role == "student" or bool(result.lineage.techniques)
    return result.kind == "stage" and compressed and result.name != result.reference


def verdict_cell(result: ModelResult) -> str:
    """Return the verdict for a table, in brackets where it is not claimed; "" for none."""
    own = result.non_inferiority
    if own is None:
        return ""
    words = f"{own.verdict}, yet worse" if own.worse else own.verdict
    words = f"{words} †" if own.caveat else words
    return words if own.claimed else f"({words})"


def verdict_notices(results: Sequence[ModelResult]) -> list[str]:
    """Return what the verdicts of a table rest on: the margin, correction, power, and what is wrong with the margin."""
    judged = [own.non_inferiority for own in results if own.non_inferiority is not None]
    claims = [own for own in judged if own.claimed]
    if not judged:
        return []
    notices = []
    for metric, margin in dict.fromkeys((own.metric, own.margin) for own in judged):
        notices.append(
            f"verdict: non-inferior where the whole 95 % interval of the loss in {spelled(metric)} is below the margin "
            f"of {100 * margin:g} {'point' if margin == 0.01 else 'points'}, inferior where it is above, else undecided"
        )
    if not all(own.claimed for own in judged):
        last = f"the claim is about {results[-1].name} alone" if claims else "nothing is claimed"
        notices.append(f"verdicts in brackets are not corrected for their number: {last}")
    elif judged[0].family > 1:
        notices.append(
            f"the {judged[0].family} verdicts are Holm-corrected together: a 5 % chance at most of any false one (p by "
            "paired bootstrap, below 1 % by a normal tail), so the interval of an undecided one may exclude the "
            "margin"
        )
    notices += [f"† {caveat}" for caveat in dict.fromkeys(own.caveat for own in judged if own.caveat)]
    return [*notices, *_power(claims)]


def power_sentence(judged: Sequence[NonInferiority]) -> str:
    """Return what the test documents of some models can show, and how many the margin needs; "" where undefined.

    Of several models the widest difference counts.
    """
    known = (own for own in judged if own.detectable > 0)
    widest = max(known, key=lambda own: own.detectable / own.margin, default=None)
    if widest is None:
        return ""
    shown = f"{widest.units:,} {widest.unit} can show a loss below {_points(widest.detectable)} points"
    needed = widest.needed(widest.margin)
    half = widest.needed(widest.margin / 2)
    if needed is not None and needed > widest.units:
        return f"{shown}; {needed:,} are needed for {100 * widest.margin:g}"
    enough = f"{shown}, enough for the margin of {100 * widest.margin:g}"
    if half is None or half <= widest.units:
        return enough
    return f"{enough}; {half:,} are needed for {50 * widest.margin:g}"


def _power(judged: Sequence[NonInferiority]) -> list[str]:
    said = power_sentence(judged)
    several = "; of the model whose difference varies most" if len(judged) > 1 else ""
    return [f"power: {said} (80 % power at one-sided 2.5 %, true loss 0{several})"] if said else []


def _points(share: float) -> str:
    """Return a share in points, rounded up to a tenth: what is promised is kept."""
    return f"{math.ceil(1000 * share - 1e-9) / 10:.1f}"
