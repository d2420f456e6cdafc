"""The command `clinlm stress run=FOLDER`: original and compressed model on the same changed notes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from clinlm.config.errors import ConfigError, MissingFileError
from clinlm.config.near_names import did_you_mean
from clinlm.config.ranges import check_at_least
from clinlm.metrics.bootstrap import Interval, resample
from clinlm.metrics.evaluation import LabelEvaluation
from clinlm.metrics.stress import MODELS, Stress, measure_stress
from clinlm.models.artifact import Artifact
from clinlm.pipeline import execution
from clinlm.pipeline.run_record import RUN, RunRecord, StageRecord
from clinlm.predict.note_answer import network_answer
from clinlm.report import cells
from clinlm.report.cards.change_control import STRESS
from clinlm.report.results import json_value
from clinlm.report.terminal import shown_path
from clinlm.store.content import verified, write_files, write_json
from clinlm.tasks.base import Task
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.tasks.labelled import Labelled
from clinlm.text.perturbations import PERTURBATIONS, perturbed

TEXT: Final = "stress.md"
_KNOWN: Final = ("run", "stage", "seed", "documents", "resamples", "metric", "output")


def stress_command(arguments: Sequence[str]) -> None:
    """Run `clinlm stress`.

    Raises:
        ConfigError: a setting is unknown or out of range, the run has no compressed stage, or finds entities.
    """
    words = [word.partition("=") for word in arguments]
    for name, sign, value in words:
        if not sign or name not in _KNOWN:
            raise ConfigError(
                f"settings must be KEY=VALUE of {', '.join(_KNOWN)}, got {name!r}{did_you_mean(name, _KNOWN)}"
            )
        if name in ("seed", "documents", "resamples") and not value.isdigit():
            raise ConfigError(f"{name} must be a whole number, got {value!r}")
    settings = {name: value for name, _, value in words}
    if "run" not in settings:
        raise ConfigError(
            "missing required setting: run; add run=outputs/runs/FOLDER to the command (--help lists all)"
        )
    folder = Path(settings["run"])
    if not (folder / RUN).is_file():
        raise MissingFileError(f"run must be the folder of a finished run, which holds {RUN}, got {folder}")
    place = Path(settings.get("output", folder))
    place.mkdir(parents=True, exist_ok=True)
    run = RunRecord.read(folder)
    first, stage = _models(run, settings.get("stage"))
    task, _ = execution.open_task_from(dict(run.task.settings), Path(run.store))
    numbers = {name: int(settings[name]) for name in ("seed", "documents", "resamples") if name in settings}
    found = stress_test(task, _opened(first), _opened(stage), metric=settings.get("metric", "micro_f1"), **numbers)
    markdown = stress_markdown(
        found, first.name, stage.name, task, numbers | {"metric": settings.get("metric", "micro_f1")}
    )
    write_files(place, {TEXT: markdown})
    write_json(
        place / STRESS,
        {"original": first.name, "compressed": stage.name, **{k: json_value(v) for k, v in found.items()}},
    )
    print(markdown, end="")
    print(f"\nreport     {shown_path(place / TEXT)} ({STRESS} in the same folder)")


def _models(run: RunRecord, name: str | None) -> tuple[StageRecord, StageRecord]:
    """Return the first teacher and the stage to compare with it: the one of this name, or the last compressed one."""
    teacher = next((stage for stage in run.stages if stage.role == "teacher"), None)
    compressed = [stage for stage in run.stages if stage.techniques and name in (None, stage.name)]
    if teacher is None or not compressed:
        known = ", ".join(stage.name for stage in run.stages)
        raise ConfigError(
            f"a stress test needs a teacher and a compressed stage, got {known}; set stage= to one of them"
        )
    return teacher, compressed[-1]


def _opened(stage: StageRecord) -> Artifact:
    return Artifact(verified(Path(stage.folder)))


def stress_test(
    task: Task,
    original: Artifact,
    compressed: Artifact,
    seed: int = 0,
    documents: int = 500,
    resamples: int = 1000,
    metric: str = "micro_f1",
) -> dict[str, Stress | None]:
    """Return perturbation -> what it costs both models on the test documents; None where it changes no note.

    Nothing is trained, and thresholds stay those that the models are served with.

    Args:
        seed: of the changes, the choice of documents and the resamples.
        documents: of the test split, at most, drawn at random.
        metric: key of `Evaluation.quality`.

    Raises:
        ConfigError: the task finds entities, whose places move, or a number is out of range.
    """
    if not isinstance(task, Labelled):
        raise ConfigError(
            f"a stress test needs labels of documents, got {type(task).__name__}, whose spans move with the text"
        )
    check_at_least("documents", documents, 1)
    if metric not in task.metrics:
        raise ConfigError(f"metric must be one of {', '.join(task.metrics)}, got {metric!r}")
    members = task.examples.members("test")
    members = np.sort(np.random.default_rng(seed).permutation(members)[:documents])
    texts: list[str] = task.examples.frame["text"].gather(members).to_list()
    weights = resample(len(members), resamples, seed, task.examples.frame["group"].gather(members).to_numpy())
    answer = {name: _answers(task, own, members) for name, own in zip(MODELS, (original, compressed), strict=True)}
    before = {name: own(texts) for name, own in answer.items()}
    found: dict[str, Stress | None] = {}
    for name, kind in PERTURBATIONS.items():
        changed = [perturbed(name, text, number, seed) for number, text in enumerate(texts)]
        touched = np.array([own != text for own, text in zip(changed, texts, strict=True)])
        if not touched.any():
            found[name] = None
            continue
        after = {model: own(changed) for model, own in answer.items()}
        found[name] = measure_stress(before, after, touched, weights, metric, kind.keeps_labels)
    return found


def _answers(task: Labelled, artifact: Artifact, members: Any) -> Any:
    """Return what answers the texts of these documents with an artifact, one at a time, as in use."""
    config = InferenceConfig.load(artifact.folder)
    answer = network_answer(artifact.load(), config)
    targets = task.examples.targets[members]
    kind: Any = task.kind

    def evaluated(texts: Sequence[str]) -> LabelEvaluation:
        logits = np.concatenate([answer.logits(text)[0] for text in texts])
        return LabelEvaluation(targets, config.probabilities(logits), config.thresholds, task.examples.labels, kind)

    return evaluated


def stress_markdown(
    found: Mapping[str, Stress | None], original: str, compressed: str, task: Task, settings: Mapping[str, Any]
) -> str:
    """Return the table, and what every line of it means. No word of a note is in it."""
    metric = cells.spelled(settings["metric"])
    header = ["change", "notes", f"{original} {metric} %", f"{compressed} {metric} %", f"loss of {original}"]
    header += [
        f"loss of {compressed}",
        "more lost",
        f"changed of {original} %",
        f"changed of {compressed} %",
        "more changed",
    ]
    rows = [[name, *_row(own)] for name, own in found.items()]
    lines = [f"- {name}: {PERTURBATIONS[name].about}" for name in found]
    return (
        f"Changed notes: {original} and {compressed} on the same test documents, seed {settings.get('seed', 0)}\n\n"
        f"{cells.grid(header, rows)}\n"
        "Of the notes that a change reaches. Losses are before minus after, in points; more lost: of the compressed "
        "model minus the original. Changed: share of the decisions that differ before and after. In brackets 95 % "
        "intervals, paired, whole groups resampled; * where one of a difference excludes 0. Thresholds are those of "
        "validation.\n\n" + "\n".join(lines) + "\n"
    )


def _row(own: Stress | None) -> list[str]:
    if own is None:
        return ["0", *[cells.NONE] * 8]
    quality = [_share(own.quality.get(model)) for model in MODELS]
    losses = [_points(own.loss.get(model)) for model in MODELS]
    changed = [_share(own.changed[model]) for model in MODELS]
    return [f"{own.documents:,}", *quality, *losses, _points(own.more), *changed, _points(own.changed_more)]


def _share(own: Interval | None) -> str:
    return cells.NONE if own is None else f"{cells.percent(own.value)} ({cells.percent_range(own.low, own.high)})"


def _points(own: Interval | None) -> str:
    if own is None:
        return cells.NONE
    return f"{cells.points(own.value)}{'*' * own.significant} ({cells.points_range(own.low, own.high)})"
