"""The command `clinlm stress run=FOLDER`: original, compressed model and TF-IDF on the same changed notes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, final, get_type_hints

import numpy as np

from clinlm.config.errors import ConfigError, MissingFileError
from clinlm.config.ranges import check_at_least
from clinlm.config.validation import CONF
from clinlm.metrics.bootstrap import Interval, resample
from clinlm.metrics.evaluation import LabelEvaluation
from clinlm.metrics.stress import Stress, measure_stress
from clinlm.models.artifact import Artifact
from clinlm.pipeline import execution
from clinlm.pipeline.run_record import RUN, RunRecord, write_run_file
from clinlm.predict.note_answer import NoteAnswer, network_answer
from clinlm.predict.settings import converted, literal_settings
from clinlm.report import cells
from clinlm.report.baselines import BASELINES, baselines
from clinlm.report.cards.change_control import STRESS
from clinlm.report.results import ModelResult, json_value
from clinlm.report.selection import every_stage
from clinlm.report.tables import change, share
from clinlm.report.terminal import shown_path
from clinlm.store.content import write_files
from clinlm.tasks.base import Task
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.tasks.labelled import Labelled
from clinlm.text.perturbations import PERTURBATIONS, perturbed

TEXT: Final = "stress.md"
STRESS_YAML: Final = CONF / "stress.yaml"


@final
@dataclass(frozen=True)
class StressSettings:
    """Settings of `clinlm stress`; see `conf/stress.yaml`.

    Raises:
        ConfigError: a number is out of range.
    """

    run: Path
    stage: str | None
    documents: int
    metric: str
    seed: int
    resamples: int
    output: Path | None

    def __post_init__(self) -> None:
        for name, least in (("documents", 1), ("resamples", 1), ("seed", 0)):
            check_at_least(name, getattr(self, name), least)

    @classmethod
    def of(cls, arguments: Sequence[str]) -> Self:
        """Return the settings of a command line.

        Raises:
            ConfigError: a key is unknown, the run is missing, or a value is wrong.
        """
        values, types = literal_settings(STRESS_YAML, arguments), get_type_hints(cls)
        if values["run"] == "???":
            raise ConfigError("missing required setting: run; add run=FOLDER to the command (--help lists all)")
        return cls(**{name: converted(name, value, types[name]) for name, value in values.items()})


def stress_command(arguments: Sequence[str]) -> None:
    """Run `clinlm stress`.

    Raises:
        ConfigError: see `StressSettings`; the run keeps test closed, has no such compressed stage, or finds entities.
        MissingFileError: there is no run.
    """
    settings = StressSettings.of(arguments)
    if not (settings.run / RUN).is_file():
        raise MissingFileError(f"run must be the folder of a finished run, which holds {RUN}, got {settings.run}")
    run = RunRecord.read(settings.run)
    if run.nested:
        raise ConfigError(
            "a stress test reads test documents, got a run with nested=true, which keeps them closed; run its pipeline "
            "without it"
        )
    original, compressed = _models(run, settings.stage)
    task, task_key = execution.open_task_from(dict(run.task.settings), Path(run.store))
    baseline = _best_baseline(task, task_key, Path(run.store), settings.metric)
    found = stress_test(
        task,
        original.lineage.artifact,
        compressed.lineage.artifact,
        settings.seed,
        settings.documents,
        settings.resamples,
        settings.metric,
        None if baseline is None else baseline[1],
    )
    names = {"original": original.name, "compressed": compressed.name}
    names |= {} if baseline is None else {"baseline": baseline[0]}
    markdown = stress_markdown(found, names, settings.metric, settings.seed)
    place = settings.output or settings.run
    place.mkdir(parents=True, exist_ok=True)
    write_files(place, {TEXT: markdown})
    facts = {name: getattr(settings, name) for name in ("metric", "seed", "documents", "resamples")}
    changes = {name: json_value(own) for name, own in found.items()}
    write_run_file(place / STRESS, {**names, **facts, **changes})
    print(markdown, end="")
    print(f"\nreport     {shown_path(place / TEXT)} ({STRESS} in the same folder)")


def _models(run: RunRecord, name: str | None) -> tuple[ModelResult, ModelResult]:
    """Return the first teacher and the stage to compare with it: the one of this name, or the last compressed one."""
    stages = every_stage(run)
    compressed = {own.name: own for own in stages if own.lineage.techniques}
    if not compressed:
        raise ConfigError(
            f"a stress test needs a compressed stage, got {', '.join(own.name for own in stages)}; name another run"
        )
    if name is not None and name not in compressed:
        raise ConfigError(f"stage must be one of the compressed stages {', '.join(compressed)}, got {name!r}")
    chosen = [*compressed.values()][-1] if name is None else compressed[name]
    return next(own for own in stages if own.name == chosen.reference), chosen


def _best_baseline(task: Task, task_key: str, store: Path, metric: str) -> tuple[str, NoteAnswer] | None:
    """Return TF-IDF, whole or in INT8, whichever is better on validation; None where neither can be fitted."""
    if not isinstance(task, Labelled) or metric not in task.metrics:
        return None  # refused by `stress_test`
    quality = {}
    for own in baselines(task, task_key, store, "")[0]:
        if own.result.name in BASELINES:
            found = task.evaluate("validation", own.validation, own.thresholds).quality()
            quality[own.result.name] = found[metric], own
    if not quality:
        return None
    name = max(quality, key=lambda name: quality[name][0])
    opens: Any = quality[name][1].opens
    return name, opens()


def stress_test(
    task: Task,
    original: Artifact,
    compressed: Artifact,
    seed: int = 0,
    documents: int = 500,
    resamples: int = 1000,
    metric: str = "micro_f1",
    baseline: NoteAnswer | None = None,
) -> dict[str, Stress | None]:
    """Return perturbation -> what it costs each model on the test documents; None where it changes no note.

    Nothing is trained, and thresholds stay those that the models are served with.

    Args:
        seed: of the changes, the choice of documents and the resamples.
        documents: of the test split, at most, drawn at random.
        metric: key of `Evaluation.quality`.
        baseline: TF-IDF, if it is to stand beside them.

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
    models = {"original": _served(original), "compressed": _served(compressed)}
    if baseline is not None:
        models["baseline"] = baseline
    answer = {name: _answers(task, own, members) for name, own in models.items()}
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


def _served(artifact: Artifact) -> NoteAnswer:
    return network_answer(artifact.load(), InferenceConfig.load(artifact.folder))


def _answers(task: Labelled, answer: NoteAnswer, members: Any) -> Any:
    """Return what answers the texts of these documents with a model, one at a time, as in use."""
    config = answer.head.config
    targets = task.examples.targets[members]
    kind: Any = task.kind

    def evaluated(texts: Sequence[str]) -> LabelEvaluation:
        logits = np.concatenate([answer.logits(text)[0] for text in texts])
        return LabelEvaluation(targets, config.probabilities(logits), config.thresholds, task.examples.labels, kind)

    return evaluated


def stress_markdown(found: Mapping[str, Stress | None], names: Mapping[str, str], metric: str, seed: int) -> str:
    """Return the table, and what every line of it means. No word of a note is in it.

    Args:
        names: by `MODELS`, of those that were compared.
    """
    spelled = cells.spelled(metric)
    header = ["change", "notes", *(f"{name} {spelled} %" for name in names.values())]
    header += [*(f"loss of {name}" for name in names.values()), "more lost"]
    header += [*(f"changed of {name} %" for name in names.values()), "more changed"]
    rows = [[name, *_row(own, names)] for name, own in found.items()]
    lines = [f"- {name}: {PERTURBATIONS[name].about}" for name in found]
    return (
        f"Changed notes: {', '.join(names.values())} on the same test documents, seed {seed}\n\n"
        f"{cells.grid(header, rows)}\n"
        f"Of the notes that a change reaches. Losses are before minus after, in points; more lost: of "
        f"{names['compressed']} minus {names['original']}. Changed: share of the decisions that differ before and "
        "after. In brackets 95 % intervals, paired, whole groups resampled; * where one of a difference excludes 0. "
        "Thresholds are those of validation.\n\n" + "\n".join(lines) + "\n"
    )


def _row(own: Stress | None, names: Collection[str]) -> list[str]:
    if own is None:
        return ["0", *[cells.NONE] * (3 * len(names) + 2)]
    quality = [_share(own.quality.get(model)) for model in names]
    losses = [change(own.loss.get(model)) for model in names]
    changed = [_share(own.changed[model]) for model in names]
    return [f"{own.documents:,}", *quality, *losses, change(own.more), *changed, change(own.changed_more)]


def _share(own: Interval | None) -> str:
    return cells.NONE if own is None else share(own.value, own)
