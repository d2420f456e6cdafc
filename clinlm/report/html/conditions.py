"""Gates and devices with reasons, and the patterns of disagreement."""

from collections.abc import Mapping
from typing import Any

from clinlm.pipeline.gates import Verdict
from clinlm.report import cells
from clinlm.report.gates import device_fits
from clinlm.report.html.models_table import Cell
from clinlm.report.html.section import Grid, Listing, Part, Prose, Section
from clinlm.report.html.sources import Sources
from clinlm.report.html.words import minus
from clinlm.report.results import decode_interval

_MOST = 30
"""Models in the table of gates, at most."""
_NOTE = (
    "Limits were set before the run. Losses are judged by the pessimistic end of a paired 95 % interval, in points; "
    "no verdict of a gate is corrected for their number."
)


def gates_section(sources: Sources) -> Section | None:
    """Return which gates each model passes, why it fails, and which devices it fits; None where nothing was judged."""
    judged = [own for own in sources.results if own.gates]
    if not judged:
        return None
    order = sorted(judged, key=lambda own: (own is not sources.subject, -sum(gate.passed for gate in own.gates)))
    shown = [own for own in judged if own in order[:_MOST]]
    rows = [[Cell(own.name), *(_verdict(gate) for gate in own.gates)] for own in shown]
    numbers = [minus(gate.line().replace("FAILED", "failed")) for own in shown for gate in own.gates]
    parts: list[Part] = [
        Grid("Gates", ["model", *(gate.gate for gate in judged[0].gates)], rows, _NOTE),
        Listing("Every limit, value and interval", numbers, folded=True),
    ]
    if sources.run is not None and sources.run.device:
        parts.append(_devices(sources))
    return Section("gates", "Gates and devices", "Gates and devices", parts)


def _verdict(gate: Verdict) -> Cell:
    return Cell("passes", tone="good") if gate.passed else Cell("fails", gate.reasons(), tone="bad")


def _devices(sources: Sources) -> Grid:
    assert sources.run is not None
    own = sources.subject
    rows = []
    for device, fit in device_fits(sources.run.device, own):
        name, verdict, reasons = fit.line().split(": ", 2)
        tone = {True: "good", False: "bad", None: ""}[fit.fits]
        rows.append([Cell(name, device.runtime), Cell(verdict, tone=tone), Cell(reasons)])
    return Grid(f"Devices: {own.name} on {own.engine}", ["device", "verdict", "why"], rows)


def disagreements_section(sources: Sources) -> Section | None:
    """Return where the model and its original decide differently, as patterns; None where that was not measured."""
    validation = sources.validation
    if validation is None:
        return None
    agreement = {name: decode_interval(own) for name, own in validation["agreement"].items()}
    said = [
        f"{cells.percent(own.value)} % ({cells.percent_range(own.low, own.high)}) of {what}"
        for key, what in (("cells", "documents × labels"), ("documents", "documents"))
        if (own := agreement.get(key)) is not None
    ]
    parts: list[Part] = [
        Prose(f"{validation['compressed']} decides as {validation['original']} does in {' and '.join(said)}.")
    ]
    found = [own for own in validation["patterns"] if own["adjusted_p"] is not None and own["adjusted_p"] < 0.05]
    if found:
        rows = [_pattern(own) for own in sorted(found, key=lambda own: own["adjusted_p"])]
        header = ["documents with", "documents", "differ inside %", "outside %", "risk ratio", "adjusted p"]
        tested = f"{len(found)} of {len(validation['patterns'])} features tested are systematic (adjusted p < .05)"
        note = f"{tested}. No text of a note is kept here."
        parts.append(Grid("Where they differ more than elsewhere", header, rows, note, frozenset({1, 2, 3, 4, 5})))
    else:
        tested = f"None of {len(validation['patterns'])} features tested"
        parts.append(Prose(f"{tested} marks documents in which they differ more than elsewhere."))
    return Section("disagreements", "Disagreements", "Disagreements as patterns", parts)


def _pattern(own: Mapping[str, Any]) -> list[Cell]:
    p = own["adjusted_p"]
    shown = "< .001" if p < 0.001 else f"{p:.3f}".lstrip("0")
    ratio = "–" if own["ratio"] is None else cells.times(own["ratio"])
    numbers = (f"{own['documents']:,}", cells.percent(own["inside"]), cells.percent(own["outside"]), ratio, shown)
    return [Cell(f"{own['feature']}: {own['value']}"), *map(Cell, numbers)]
