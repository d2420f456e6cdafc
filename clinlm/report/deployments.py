"""Models as engines run them, beside the artifacts that they were exported from: rows of the same comparison."""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from clinlm.engines.base import Engine, EngineSelection
from clinlm.engines.export import Deployment, deploy, open_model, unit_answers
from clinlm.metrics.latency import Latency
from clinlm.models.artifact import Artifact
from clinlm.report import cells
from clinlm.report.entry import Entry
from clinlm.tasks.base import Task

log = logging.getLogger(__name__)


@final
@dataclass(frozen=True)
class Bid:
    """A model on an engine.

    Attributes:
        model: name of its row.
        engine: name.
        deployment: None where there is none.
        refused: why there is none.
    """

    model: str
    engine: str
    deployment: Deployment | None
    refused: str = ""

    @property
    def row(self) -> str:
        """The name of the deployment's own row."""
        return f"{self.model} @{self.engine}"


def bids(artifacts: Mapping[str, Artifact], engine: EngineSelection, task: Task, root: Path) -> list[Bid]:
    """Return every model on every candidate of `engine`; a candidate of an auction may refuse a model, or break on it.

    Raises:
        RuntimeError: the engine asked for by its name refuses a model.
        ImportError: it is not installed.
    """
    check_installed(engine)
    candidates = engine.candidates()
    found = []
    for name, artifact in artifacts.items():
        for one in candidates:
            try:
                found.append(Bid(name, one.name, deploy(artifact, one, task, root)))
            except Exception as refusal:  # of many kinds: errors of ONNX Runtime share no base with those of others
                if isinstance(engine, Engine):
                    if isinstance(refusal, RuntimeError):
                        raise RuntimeError(f"{name}: {refusal}") from refusal
                    raise
                log.info("%s is not deployed on %s: %s", name, one.name, refusal)
                found.append(Bid(name, one.name, None, _reason(refusal)))
    return found


def check_installed(engine: EngineSelection) -> None:
    """Raise unless every candidate can be used.

    Raises:
        ImportError: one cannot; the message says what to install.
    """
    for one in engine.candidates():
        if one.missing():
            raise ImportError(f"engine={one.name} needs {one.missing()}; install it, or take another engine=")


def _reason(refusal: Exception) -> str:
    """Return one line for a table: the law and what came, or, of an error that is none of ours, its kind too."""
    told = (str(refusal).splitlines() or [""])[0].partition(";")[0]
    return told if type(refusal) is RuntimeError else f"{type(refusal).__name__}: {told}"


def entry(task: Task, bid: Bid, model: Entry) -> Entry:
    """Return the entry of a deployment: quality from the engine's own answers, size and memory of what is deployed.

    Args:
        task: bound to nothing; rows are cut anew for the model's tokenizer.
        bid: not refused.
        model: the entry of the artifact.
    """
    assert bid.deployment is not None
    facts = bid.deployment.facts
    row = replace(
        model.row,
        name=bid.row,
        engine=bid.engine,
        bytes=facts["bytes"],
        peak_mib=facts["peak_mib"],
        deployment={"of": bid.model, "folder": str(bid.deployment.folder.absolute()), **facts},
    )
    validation, test = (task.probabilities(bid.deployment.predictions(split)) for split in ("validation", "test"))
    use = open_model(bid.deployment.folder)
    encoded = task.encode(use.tokenizer, use.serving.max_tokens)
    return Entry(
        row,
        validation,
        test,
        lambda document: unit_answers(use.answer, encoded.collate([document]), task.long_notes),
        model.reference,
        model.cut,
    )


def auction(offers: Sequence[Bid], times: Mapping[str, Latency]) -> tuple[set[str], list[str]]:
    """Return the names of the rows that are kept, the fastest deployment of every model, and a line a model.

    Where only one engine was asked for, its deployments are kept. The artifact itself, in eager torch, is told beside.

    Args:
        offers: of all models.
        times: of all rows.
    """
    by_model: dict[str, list[Bid]] = defaultdict(list)
    for one in offers:
        by_model[one.model].append(one)
    kept, told = set(), []
    for model, own in by_model.items():
        able = sorted((one for one in own if one.deployment is not None), key=lambda one: times[one.row].p50_ms)
        kept |= {one.row for one in able[:1]}
        figures = [f"{one.engine} {cells.three(times[one.row].p50_ms)} ms" for one in able]
        figures[:1] = [f"{first} (kept)" for first in figures[:1]]
        figures += [f"torch (eager) {cells.three(times[model].p50_ms)} ms"] if model in times else []
        figures += [f"{one.engine} refused: {one.refused}" for one in own if one.deployment is None]
        if len(own) > 1 or not able:
            told.append(f"engines for {model}, p50: {', '.join(figures)}")
    return kept, told
