"""Verdicts of gates on compressed models, the fit to devices, and their files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clinlm.config.targets import instantiate
from clinlm.engines.devices import Device, Fit
from clinlm.models.artifact import Artifact
from clinlm.pipeline.degradation import Degradation
from clinlm.pipeline.gates import Gate, Verdict
from clinlm.pipeline.run_record import RunRecord
from clinlm.report import cells
from clinlm.report.results import ModelResult
from clinlm.store.content import verified
from clinlm.tasks.base import Task

_NOTE = (
    "A cell says 'passes', or what fails and by how many points; gates_numbers.md has every value, interval and limit. "
    "Against the first teacher on {split}, in points (hundredths), with paired 95 % intervals. By interval, a gate "
    "passes where the pessimistic end keeps to the limit; by point, where the value does. Gaps are of micro F1 between "
    "the best and the worst subgroup. A floor is the least value of the model itself, on the same documents. Limits "
    "are set before the run (conf/gate, gate.*); every gate judges every compressed model, and no verdict of a gate "
    "is corrected for their number."
)


def known_gates(run: RunRecord) -> list[Gate]:
    """Return all gates, strictest first; that of the run as it was set, last if its name is new."""
    gates: list[Gate] = [instantiate(dict(settings)) for settings in run.gates]
    gates.sort(key=lambda gate: sum(gate.metrics.values()))
    chosen: Gate | None = instantiate(dict(run.gate)) if run.gate else None
    own = {gate.name: gate for gate in gates} | ({chosen.name: chosen} if chosen is not None else {})
    return [*own.values()]


def verdicts(task: Task, result: ModelResult, gates: Sequence[Gate], split: str = "test") -> tuple[Verdict, ...]:
    """Return the verdict of every gate on a compressed model, in the order of `gates`; none for any other model.

    Whatever gate the pipeline has, a report has the verdicts of all, on documents that chose nothing.
    """
    lineage = result.lineage
    if not lineage.original or not lineage.techniques:
        return ()
    original, artifact = Artifact(verified(Path(lineage.original))), lineage.artifact
    measured: dict[tuple[Any, ...], Degradation] = {}
    found = []
    for gate in gates:
        how = (
            gate.resamples,
            gate.by_group,
            gate.smallest_subgroup,
            gate.seed,
            gate.floor,
            gate.floor_metric,
            gate.measures_sets,
        )
        if how not in measured:
            measured[how] = gate.measure(task, original, artifact, split)
        found.append(gate.verdict(result.name, measured[how], lineage.techniques))
    return tuple(found)


def verdict_lines(results: Sequence[ModelResult]) -> list[str]:
    """Return a line for every compressed model: the gates that it passes, and why it fails the others.

    And below them, once each, what no gate could judge.
    """
    notices = dict.fromkeys(notice for result in results for verdict in result.gates for notice in verdict.notices)
    found = [
        f"gates      {result.name}: {', '.join(map(short_verdict, result.gates))}" for result in results if result.gates
    ]
    return [*found, *(f"gates      {notice}" for notice in notices)]


def short_verdict(verdict: Verdict) -> str:
    """Return a verdict in a few words."""
    return f"{verdict.gate} passes" if verdict.passed else f"{verdict.gate} fails ({verdict.reasons()})"


def verdict_markdown(results: Sequence[ModelResult], split: str = "test") -> str:
    """Return the verdicts as a table with a line for every compressed model and a column for every gate."""
    judged = [result for result in results if result.gates]
    if not judged:
        return ""
    header = ["stage", *(verdict.gate for verdict in judged[0].gates)]
    rows = [[r.name, *("passes" if gate.passed else gate.reasons() for gate in r.gates)] for r in judged]
    return f"{cells.grid(header, rows)}\n{_NOTE.format(split=split)}\n"


def verdict_numbers(results: Sequence[ModelResult]) -> str:
    """Return every number behind the verdicts, a line for every model and gate."""
    return "".join(f"- {verdict.line()}\n" for result in results for verdict in result.gates)


def device_fits(devices: Mapping[str, Any], result: ModelResult) -> list[tuple[Device, Fit]]:
    """Return every device, and whether the model fits it.

    Args:
        devices: settings of each by name, see `RunRecord.device`.
    """
    known: list[Device] = [instantiate(dict(settings)) for settings in devices.values()]
    # A device has to hold the whole process; of an artifact in eager torch only the growth of one was measured.
    mib = result.deployment.get("process_mib")
    return [(device, device.fit(result.bytes, mib, result.engine)) for device in known]


def device_lines(devices: Mapping[str, Any], result: ModelResult) -> list[str]:
    """Return a line for every device: whether the model fits, and by how much."""
    return [fit.line() for _, fit in device_fits(devices, result)]


def write_gates(
    results: Sequence[ModelResult], devices: Mapping[str, Any], folder: Path, split: str = "test"
) -> list[str]:
    """Write gates.md, gates_numbers.md and devices.md, and return their names; none where nothing was compressed.

    Gates judge every compressed model; devices are for the last result.
    """
    if not any(result.gates for result in results):
        return []
    fits = "".join(f"- {line}\n" for line in device_lines(devices, results[-1]))
    contents = {
        "gates.md": verdict_markdown(results, split),
        "gates_numbers.md": verdict_numbers(results),
        "devices.md": f"{results[-1].name}\n\n{fits}",
    }
    for name, content in contents.items():
        (folder / name).write_text(content, encoding="utf-8")
    return [*contents]
