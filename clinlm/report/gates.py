"""What every gate says of every compressed model, where the last one fits, and how a sweep tells that a gate failed."""

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from hydra.experimental.callback import Callback
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from clinlm.config.settings import plain
from clinlm.config.validation import CONF
from clinlm.engines.devices import Device
from clinlm.models.artifact import Artifact
from clinlm.pipeline.degradation import Degradation
from clinlm.pipeline.gates import Gate, Verdict
from clinlm.pipeline.results import GateFailed, StageResult
from clinlm.report import cells
from clinlm.store.content import write_json
from clinlm.sweepers.study import STUDY
from clinlm.tasks.base import Task

log = logging.getLogger(__name__)
FAILED = "gate.json"
"""What a job of a sweep leaves that failed its gate."""

_NOTHING = dict.fromkeys(("quality", "latency_ms", "bytes", "parameters", "nonzero"), float("nan"))


@final
@dataclass(frozen=True)
class Subject:
    """A compressed model, to be judged.

    Attributes:
        name: of its row.
        original: the model before compression.
        artifact: itself.
        techniques: keys of `clinlm.pipeline.gates.TECHNIQUES`.
    """

    name: str
    original: Artifact
    artifact: Artifact
    techniques: tuple[str, ...]


def subjects(done: Sequence[StageResult]) -> list[Subject]:
    """Return the compressed stages of a pipeline, each beside its first teacher."""
    first = next((one.artifact for one in done if one.role == "teacher"), None)
    return [] if first is None else [Subject(d.name, first, d.artifact, d.techniques) for d in done if d.techniques]


def every_gate(chosen: Gate | None = None) -> list[Gate]:
    """Return the gates of `conf/gate`, the strictest first; that of the pipeline as it was set, last if it is new."""
    read = [OmegaConf.load(path) for path in sorted(CONF.glob("gate/*.yaml"))]
    gates: list[Gate] = [instantiate(one) for one in read if "_target_" in one]
    gates.sort(key=lambda gate: sum(gate.metrics.values()))
    own = {gate.name: gate for gate in gates} | ({chosen.name: chosen} if chosen is not None else {})
    return [*own.values()]


def verdicts(
    task: Task, judged: Sequence[Subject], gates: Sequence[Gate], split: str = "test"
) -> dict[str, list[Verdict]]:
    """Return what every gate says of every subject, by the subject's name, in the order of `gates`.

    Nothing stops here: whatever gate a pipeline had, its report tells all of them, and on documents that chose nothing.
    """
    found: dict[str, list[Verdict]] = {}
    for one in judged:
        measured: dict[tuple[Any, ...], Degradation] = {}
        found[one.name] = []
        for gate in gates:
            how = (gate.resamples, gate.by_group, gate.smallest_subgroup, gate.seed)
            if how not in measured:
                measured[how] = gate.measure(task, one.original, one.artifact, split)
            found[one.name].append(gate.verdict(one.name, measured[how], one.techniques))
    return found


def lines(found: Mapping[str, Sequence[Verdict]]) -> list[str]:
    """Return one line a model for the terminal: which gates it passes, and why it fails the others.

    Below them, once each, what no gate could judge: who passes has passed without it.
    """
    notices = dict.fromkeys(notice for own in found.values() for one in own for notice in one.notices)
    told = [f"gates      {name}: {', '.join(map(_short, own))}" for name, own in found.items()]
    return [*told, *(f"gates      {notice}" for notice in notices)]


def markdown(found: Mapping[str, Sequence[Verdict]], gates: Sequence[Gate]) -> str:
    """Return the verdicts as a table with a line a model and a column a gate."""
    if not found:
        return ""
    header = ["stage", *(gate.name for gate in gates)]
    rows = [[name, *("passes" if one.passed else one.reasons() for one in own)] for name, own in found.items()]
    note = (
        "Against the first teacher on test, in points (hundredths), with paired 95 % intervals. By interval, a gate "
        "passes where the end that speaks against the model keeps to the limit; by point, where the value does. "
        "Gaps are of micro F1 between the best and the worst subgroup."
    )
    return f"{cells.grid(header, rows)}\n{note}\n"


def numbers(found: Mapping[str, Sequence[Verdict]]) -> str:
    """Return every number that the verdicts come from, one line a model and gate."""
    return "".join(f"- {one.line()}\n" for own in found.values() for one in own)


def devices(config: DictConfig) -> list[Device]:
    """Return the devices of `config`: all, or the one chosen."""
    return [instantiate(one) for one in plain(config.device).values()]


def device_lines(known: Sequence[Device], bytes: int, peak_mib: float | None, engine: str) -> list[str]:
    """Return one line a device: whether a model fits, and by how much. Arguments as `Device.fit`."""
    return [f"device     {one.fit(bytes, peak_mib, engine).line()}" for one in known]


def device_markdown(known: Sequence[Device], bytes: int, peak_mib: float | None, engine: str) -> str:
    """Return the same as a list. Arguments as `Device.fit`."""
    return "".join(f"- {one.fit(bytes, peak_mib, engine).line()}\n" for one in known)


def refuse(failed: GateFailed, folder: Path) -> dict[str, float]:
    """Say that a job of a sweep failed its gate, leave `gate.json` in its folder, and return nothing to optimise: NaN.

    An optimiser counts the job as one that failed, and looks elsewhere.
    """
    log.error("%s", failed)
    stages = [{"gate": one.gate, "stage": one.subject, "refused": list(one.refused)} for one in failed.verdicts]
    write_json(folder / FAILED, {"message": str(failed), "verdicts": stages})
    return dict(_NOTHING)


class GateStatus(Callback):
    """Hydra's callback: a sweep with a job that failed its gate ends with exit status 3, after everything else.

    But not where an optimiser drew the jobs: to learn what fails is what it is for.
    """

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Exit if one of the jobs left `gate.json`."""
        folder = Path(config.hydra.sweep.dir)
        failed = sorted(folder.glob(f"*/{FAILED}"))
        if not failed or (folder / STUDY).is_file():
            return
        for path in failed:
            message = json.loads(path.read_text(encoding="utf-8"))["message"]
            print(f"clinlm: job {path.parent.name}: {message}", file=sys.stderr)
        sys.exit(GateFailed.exit_status)


def _short(verdict: Verdict) -> str:
    return f"{verdict.gate} passes" if verdict.passed else f"{verdict.gate} fails ({verdict.reasons()})"
