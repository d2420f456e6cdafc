"""Models as engines run them, evaluated like the artifacts that they were exported from."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from clinlm.config.errors import MissingExtraError, ModelError
from clinlm.engines.base import Engine, EngineSelection, Logits
from clinlm.engines.deployment import Deployment
from clinlm.engines.open_model import open_model
from clinlm.engines.selection import offer_engines
from clinlm.metrics.latency import Latency, Phased, busy_share, by_processor_time
from clinlm.models.artifact import Artifact, read_spec
from clinlm.predict.note_answer import EncodedNote, NetworkAnswer
from clinlm.report import cells
from clinlm.report.baselines import ComparedModel
from clinlm.tasks.base import Task
from clinlm.tasks.inference_config import InferenceConfig

log = logging.getLogger(__name__)

Exports = Mapping[str, Mapping[str, Deployment | str]]
"""Name of a result -> engine -> its deployment, or the reason why there is none."""


def exports(artifacts: Mapping[str, Artifact], engine: EngineSelection, task: Task, root: Path) -> Exports:
    """Export every model to every candidate of `engine`.

    Where there are several candidates, one may refuse a model or fail on it.

    Raises:
        ModelError: the only engine chosen refuses a model.
        MissingExtraError: an engine is not installed.
    """
    from clinlm.engines.export import deploy

    check_installed(engine)
    found: dict[str, dict[str, Deployment | str]] = {name: {} for name in artifacts}
    for name, artifact in artifacts.items():
        for candidate in engine.candidates():
            if not isinstance(engine, Engine) and not _suits(candidate, artifact):
                continue
            try:
                found[name][candidate.name] = deploy(artifact, candidate, task, root)
            except Exception as refusal:  # errors of ONNX Runtime share no base class with those of other engines
                if isinstance(engine, Engine):
                    if isinstance(refusal, RuntimeError):
                        raise ModelError(f"{name}: {refusal}") from refusal
                    raise
                log.info("%s is not deployed on %s: %s", name, candidate.name, refusal)
                found[name][candidate.name] = _reason(refusal)
        offer_engines({one: own.folder for one, own in found[name].items() if isinstance(own, Deployment)})
    return found


def _suits(engine: Engine, artifact: Artifact) -> bool:
    """Return whether an engine runs the architecture of an artifact."""
    own = engine.architectures
    return own is None or read_spec(artifact.folder).config["model_type"] in own


def check_installed(engine: EngineSelection) -> None:
    """Raise MissingExtraError, which says what to install, unless every candidate can be used."""
    for candidate in engine.candidates():
        if candidate.missing():
            raise MissingExtraError(
                f"engine={candidate.name} needs {candidate.missing()}; install it, or choose another engine="
            )


def _reason(refusal: Exception) -> str:
    """Return one line for a table: what must hold and what was found, with the kind of an error that is not ours."""
    message = (str(refusal).splitlines() or [""])[0].partition(";")[0]
    return message if type(refusal) in (RuntimeError, ModelError) else f"{type(refusal).__name__}: {message}"


def row_name(model: str, engine: str) -> str:
    """Return the name of the result of a model on an engine."""
    return f"{model} @{engine}"


def deployment_predictor(deployment: Deployment, model: ComparedModel) -> ComparedModel:
    """Return the predictor of a deployment: the engine's own predictions, size and memory of what is deployed.

    Its thresholds are those in its folder, which are the artifact's. It computes with as many threads as torch, so that
    engines are compared alike.
    """
    facts = deployment.facts
    result = replace(
        model.result,
        name=row_name(model.result.name, facts["engine"]),
        engine=facts["engine"],
        bytes=facts["bytes"],
        peak_mib=facts["peak_mib"],
        deployment={"of": model.result.name, "folder": str(deployment.folder.absolute()), **facts},
    )
    config = InferenceConfig.load(deployment.folder)

    def opened() -> Phased[str, EncodedNote, Logits]:
        import torch

        use = open_model(deployment.folder, torch.get_num_threads())
        return NetworkAnswer(use.answer, use.tokenizer, use.inference_config).phased()

    return ComparedModel.of(result, config, deployment.predictions, opened)


def fastest(exported: Exports, times: Mapping[str, Latency]) -> tuple[set[str], list[str]]:
    """Select the fastest deployment of every model: by the clock, or by processor time on a machine that others use.

    Returns:
        the names of the results to keep; and a line for every model with several engines, or none, that compares them
        with the artifact in eager torch, and says how busy the machine was.
    """
    kept, lines = set(), []
    busy = busy_share(times.values())
    load = "" if busy is None else f" (other processes used {busy:.0%} of the cores)"
    crowded = by_processor_time([*times.values()])
    counted = "processor time" if crowded else "p50"

    def milliseconds(name: str) -> float:
        own = times[name]
        return own.processor_ms if crowded and own.processor_ms is not None else own.p50_ms

    for model, own in exported.items():
        able = [engine for engine, export in own.items() if isinstance(export, Deployment)]
        able.sort(key=lambda engine: milliseconds(row_name(model, engine)))
        kept |= {row_name(model, engine) for engine in able[:1]}
        figures = [f"{engine} {cells.three(milliseconds(row_name(model, engine)))} ms" for engine in able]
        figures[:1] = [f"{figure} (kept)" for figure in figures[:1]]
        figures += [f"torch (eager) {cells.three(milliseconds(model))} ms"] if model in times else []
        figures += [
            f"{engine} refused: {export}" for engine, export in own.items() if not isinstance(export, Deployment)
        ]
        if len(own) > 1 or not able:
            lines.append(f"engines for {model}, {counted}{load}: {', '.join(figures)}")
    return kept, lines
