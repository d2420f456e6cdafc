"""External validation: every model of a comparison again, on a corpus that none was trained on."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from clinlm.config.errors import ConfigError
from clinlm.config.targets import find_target, instantiate
from clinlm.engines.deployment import Deployment
from clinlm.engines.open_model import open_model
from clinlm.metrics.bootstrap import Groups, Values, Weights, differences, intervals, unpaired_differences
from clinlm.metrics.decisions import Thresholds
from clinlm.metrics.entity_evaluation import EntityEvaluation
from clinlm.metrics.evaluation import Evaluation
from clinlm.metrics.term_model import linked_logits
from clinlm.models import artifact as artifacts
from clinlm.pipeline import execution
from clinlm.report import entities
from clinlm.report.baselines import BASELINES, KEYWORDS, LABELER, stored_baseline
from clinlm.report.conclusion import external_sentences
from clinlm.report.domination import with_domination
from clinlm.report.results import COMBINED, ModelResult
from clinlm.report.settings import ReportSettings
from clinlm.report.tables import change, write_results
from clinlm.store.content import sealed, verified
from clinlm.store.key import cache_key
from clinlm.store.locks import locked
from clinlm.tasks.base import Task
from clinlm.tasks.entities import Entities
from clinlm.tasks.examples import EVERY
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.tasks.labelled import Labelled
from clinlm.training.teachers.trained import Trained

log = logging.getLogger(__name__)
NAME = "external"
"""Of the files, without ending."""

Probabilities = Float[np.ndarray, "units outputs"]


@final
@dataclass(frozen=True)
class ExternalCorpus:
    """A corpus to test on, and the task that models were built for.

    Attributes:
        key: of `main`.
        task: the external corpus, as a task with the same labels.
        documents: numbers of its documents whose text the models have not seen.
        notices: what limits the numbers on its documents.
    """

    main: Task
    key: str
    task: Task
    documents: Int[np.ndarray, " documents"]
    name: str
    notices: tuple[str, ...]

    def evaluate(self, probabilities: Probabilities, thresholds: Thresholds = None) -> Evaluation:
        """Return predictions for all its documents against people's labels, without documents that models have seen.

        Args:
            thresholds: of the model, fitted on validation of its own task.
        """
        return self.task.evaluate(EVERY, probabilities, thresholds).only(self.documents)

    @cached_property
    def groups(self) -> Groups:
        """The group of each document."""
        groups: Groups = self.task.examples.frame["group"].gather(self.documents).to_numpy()
        return groups


def open_external(settings: Mapping[str, Any], task: Task, task_key: str, root: Path) -> ExternalCorpus:
    """Open the corpus of the group `external`.

    Its labels are those of the task, its labeler labels it as well, and all its documents are read: nothing is learned
    from them. Documents whose text (in lower case, white space collapsed) is in training or validation of the task are
    left out.

    Args:
        settings: of a task, as `clinlm.config.external.external_settings` returns them.
        task: of the models, opened.

    Raises:
        ConfigError: the two are tasks of different kinds, their labels differ, or they have the same documents.
    """
    if not isinstance(task, find_target(settings["_target_"])):
        raise ConfigError(
            f"external must be a task of the same kind, got {find_target(settings['_target_']).__name__} for "
            f"{type(task).__name__}; set external=corpus and corpus@external.corpus=NAME, or external=none"
        )
    other = _opened(settings, task, root)
    name = Path(settings["root"]).name if settings.get("root") else type(other.corpus).__name__
    if other.corpus.fingerprint() == task.corpus.fingerprint():
        raise ConfigError(f"external must be another corpus, but task and external both read {name}; set external=")
    kept, seen = _unseen(task, other)
    if not len(kept):
        raise ConfigError(
            f"external needs documents that models have not seen; all {seen:,} of {name} are in training or validation "
            "of the task; set external= to another corpus"
        )
    left = [f"{seen:,} of {seen + len(kept):,} documents left out: training or validation has their text"] * bool(seen)
    return ExternalCorpus(task, task_key, other, kept, name, (*left, *other.examples.notices))


def _opened(settings: Mapping[str, Any], task: Task, root: Path) -> Task:
    """Return the external corpus as a task with the labels of `task`, opened on the store `root`."""
    if isinstance(task, Entities):
        labels = task.tags.labels
        if settings.get("labels") is not None and set(settings["labels"]) != set(labels):
            raise ConfigError(
                f"external.labels must be the labels of the task, {', '.join(labels)}, got "
                f"{', '.join(map(str, settings['labels']))}; leave external.labels null, or set task.labels"
            )
        try:
            return execution.open_task_from({**settings, "labels": list(labels)}, root)[0]
        except ValueError as error:
            raise ConfigError(
                f"external: {error} (task.* is external.* here, and the labels are those of the task: set task.labels "
                "to labels that people used in both)"
            ) from error
    other: Task = instantiate({**settings, "labels": None})
    assert isinstance(other, Labelled), "the other kind of task"
    other.known = task.examples.labels
    return other.open(root, cache_key([settings, list(other.known)], other.fingerprint()))


def _unseen(task: Task, other: Task) -> tuple[Int[np.ndarray, " documents"], int]:
    """Return the numbers of the documents that no model has seen, and how many have been seen."""
    seen = {_normalized(text) for split in ("train", "validation") for text in task.texts(split)}
    new = np.array([_normalized(text) not in seen for text in other.texts(EVERY)])
    return np.flatnonzero(new), int((~new).sum())


def _normalized(text: str) -> str:
    return " ".join(text.lower().split())


def write_external(
    external: ExternalCorpus, results: Sequence[ModelResult], settings: ReportSettings, root: Path, folder: Path
) -> list[ModelResult]:
    """Evaluate every model, write external.md and .json, and return the results on the external corpus.

    Of entities also external.svg and .png, of labels external.csv and external_per_label.csv.

    Args:
        results: of the comparison on the task's own test documents.
        settings: of the report.
    """
    # They could not be fitted.
    missing = [name for name in BASELINES if not sealed(stored_baseline(name, external.key, root).folder)]
    shown = [result for result in results if result.kind not in COMBINED and result.name not in (KEYWORDS, *missing)]
    pairs = {result.name: _evaluations(external, result, root) for result in shown}
    found = []
    for result in shown:
        before = None if result.reference == result.name else pairs[result.reference][1]
        found.append(_evaluated(external, result, pairs[result.name], before, settings))
    found = with_domination(found, "micro_f1")
    said = external_sentences(found, external.name)
    left = [f"{r.name} is left out: its members have their own rows" for r in results if r.kind in COMBINED]
    notices = [f"{len(external.documents):,} documents of {external.name}", *external.notices, *left]
    tested = len(external.main.examples.members("test"))
    what = f"here minus that on the {tested:,} test documents of the task, drawn separately"
    if external.main.by_word:
        note = f"Against own test: strict F1 {what}."
        entities.write_entities(found, notices, folder, NAME, f"External corpus {external.name}", note, said)
        return found
    drops = ", ".join(f"{result.name} {change(result.drop)}" for result in found)
    rule = "thresholds are those of validation; nothing was chosen by these documents"
    write_results(found, folder, NAME, [*notices, f"micro F1 {what}: {drops}", rule], said)
    return found


def _evaluated(
    external: ExternalCorpus,
    result: ModelResult,
    pair: tuple[Evaluation, Evaluation],
    reference: Evaluation | None,
    settings: ReportSettings,
) -> ModelResult:
    own, there = pair
    how = settings.bootstrap(external.main)
    groups: Groups | None = external.groups if settings.by_group else None
    draws: dict[str, Any] = how | {"groups": groups}
    weigh, label_table = _scores(there), _label_table(there, draws)
    changes = {} if reference is None else differences(_scores(reference), weigh, there.documents, **draws)
    apart = how | {"groups": (how["groups"], groups)}
    return replace(
        result,
        quality={name: float(value[0]) for name, value in weigh(np.ones((1, there.documents))).items()},
        intervals=intervals(weigh, there.documents, **draws),
        differences=changes,
        validation={},
        against_baselines={},
        non_inferiority=None,
        uncertainty=None,
        gates=(),
        per_label=tuple(label_table.to_dicts()),
        drop=unpaired_differences(_scores(own), weigh, (own.documents, there.documents), **apart)["micro_f1"],
    )


def _scores(evaluation: Evaluation) -> Callable[[Weights], dict[str, Values]]:
    return evaluation.entity_metrics if isinstance(evaluation, EntityEvaluation) else evaluation.weighted


def _label_table(evaluation: Evaluation, draws: Mapping[str, Any]) -> pl.DataFrame:
    return evaluation.label_intervals(**draws) if isinstance(evaluation, EntityEvaluation) else evaluation.per_label()


def _evaluations(external: ExternalCorpus, result: ModelResult, root: Path) -> tuple[Evaluation, Evaluation]:
    """Return the predictions of a model for the test documents of the task, and for the external corpus.

    Both as the model is served: with the thresholds of validation.
    """
    main, other = external.main, external.task
    own = test_probabilities(main, external.key, result, root)
    if result.name == LABELER:
        labels = other.labelled_probabilities(EVERY)
        assert labels is not None, "the same labeler labels both tasks"
        return main.evaluate("test", own, None), external.evaluate(labels)
    folder = _folder(external.key, result, root)
    config = InferenceConfig.load(folder)
    if result.name in BASELINES:
        model, _ = stored_baseline(result.name, external.key, root).fitted(main)
        logits = linked_logits(model, other.passages(other.examples.members(EVERY)), main.kind)
    elif result.deployment:
        logits = _deployed(result, other)
    else:
        logits = Trained(result.lineage.artifact).all_logits(other)
    there = external.evaluate(config.probabilities(logits), config.thresholds)
    return main.evaluate("test", own, config.thresholds), there


def _folder(task_key: str, result: ModelResult, root: Path) -> Path:
    """Return the folder that a result is served from."""
    if result.name in BASELINES:
        return stored_baseline(result.name, task_key, root).folder
    return verified(Path(result.deployment["folder"] if result.deployment else result.lineage.folder))


def test_probabilities(task: Task, task_key: str, result: ModelResult, root: Path) -> Probabilities:
    """Return the probabilities of a model for the test documents of its task, as it is served."""
    if result.name == LABELER:
        labels = task.labelled_probabilities("test")
        assert labels is not None, "a comparison has a labeler only where people are not the labeler"
        return labels
    config = InferenceConfig.load(_folder(task_key, result, root))
    if result.name in BASELINES:
        return config.probabilities(stored_baseline(result.name, task_key, root).split_logits(task, "test"))
    if result.deployment:
        return config.probabilities(Deployment(Path(result.deployment["folder"])).predictions("test"))
    return config.probabilities(result.lineage.artifact.predictions("test"))


def _deployed(result: ModelResult, task: Task) -> Float[np.ndarray, "units outputs"]:
    """Return the engine's own logits of all documents, one at a time, as in use; kept in the artifact's folder."""
    assert task.folder is not None
    deployment, artifact = Path(result.deployment["folder"]), result.lineage.artifact
    path = artifact.folder / "logits" / f"{EVERY}-{task.folder.name}-{deployment.name}.safetensors"
    with locked(path):
        if path.exists():
            try:
                return artifacts.load_logits(path)[1]
            except ValueError as damage:
                log.warning("%s: computing them again", damage)
        from clinlm.engines.export import unit_answers

        use = open_model(deployment)
        encoded = task.encode(use.tokenizer, use.inference_config.max_tokens)
        members = task.examples.members(EVERY).tolist()
        log.info("computing the logits of %s for %d documents, once", deployment.name, len(members))
        each = [unit_answers(use.answer, encoded.collate([document]), task.long_notes) for document in members]
        logits = np.concatenate(each)
        artifacts.save_logits(path, task.examples.units(EVERY), logits)
    return logits
