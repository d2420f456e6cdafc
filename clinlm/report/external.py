"""External validation: every model of a comparison again, on a corpus that none was trained on."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
from hydra.utils import get_class
from jaxtyping import Float, Int

from clinlm.config.errors import ConfigError
from clinlm.engines.export import Deployment, open_model, unit_answers
from clinlm.metrics.bootstrap import Groups, differences, intervals, unpaired_differences
from clinlm.metrics.entity_evaluation import EntityEvaluation
from clinlm.models import artifact as artifacts
from clinlm.pipeline import execution
from clinlm.report import entities
from clinlm.report.baselines import BASELINE, LABELER
from clinlm.report.results import ModelResult
from clinlm.report.settings import ReportSettings
from clinlm.store.content import locked
from clinlm.tasks.base import Task
from clinlm.tasks.entities import Entities
from clinlm.tasks.examples import EVERY, units_of
from clinlm.training.teachers.tfidf import Tfidf
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

    main: Entities
    key: str
    task: Entities
    documents: Int[np.ndarray, " documents"]
    name: str
    notices: tuple[str, ...]

    def evaluate(self, probabilities: Probabilities) -> EntityEvaluation:
        """Return predictions for all its documents against people's labels, without documents that models have seen."""
        every = self.task.evaluate(EVERY, probabilities, None)
        if len(self.documents) == every.documents:
            return every
        units = units_of(every.word_start, self.documents)
        chosen = self.documents.tolist()
        words, truth = [every.words[number] for number in chosen], [every.truth[number] for number in chosen]
        return EntityEvaluation(every.tags, words, truth, probabilities[units])

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
        task: of the models, opened.

    Raises:
        ConfigError: one of the two is not a task of entities, their labels differ, or they have the same documents.
    """
    if not isinstance(task, Entities) or not issubclass(get_class(settings["_target_"]), Entities):
        raise ConfigError(
            "external validation needs two tasks of entities; the task or external is of another kind; set "
            "external=none, or choose tasks of entities for both"
        )
    labels = task.tags.labels
    if settings.get("labels") is not None and set(settings["labels"]) != set(labels):
        raise ConfigError(
            f"external.labels must be the labels of the task, {', '.join(labels)}, got "
            f"{', '.join(map(str, settings['labels']))}; leave external.labels null, or set task.labels"
        )
    try:
        other, _ = execution.open_task_from({**settings, "labels": list(labels)}, root)
    except ValueError as error:
        raise ConfigError(
            f"external: {error} (task.* is external.* here, and the labels are those of the task: set task.labels to "
            "labels that people used in both)"
        ) from error
    assert isinstance(other, Entities)
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
    """Evaluate every model, write external.md, .json, .svg and .png, and return the results on the external corpus.

    Args:
        results: of the comparison on the task's own test documents.
        settings: of the report.
    """
    shown = [result for result in results if result.kind != "ensemble"]
    pairs = {result.name: _evaluations(external, result, root) for result in shown}
    found = []
    for result in shown:
        before = None if result.reference == result.name else pairs[result.reference][1]
        found.append(_evaluated(external, result, pairs[result.name], before, settings))
    left = [f"{r.name} is left out: its members have their own rows" for r in results if r.kind == "ensemble"]
    notices = [f"{len(external.documents):,} documents of {external.name}", *external.notices, *left]
    tested = len(external.main.examples.members("test"))
    note = (
        f"Against own test: strict F1 here minus that on the {tested:,} test documents of the task, drawn separately."
    )
    entities.write_entities(found, notices, folder, NAME, f"External corpus {external.name}", note)
    return found


def _evaluated(
    external: ExternalCorpus,
    result: ModelResult,
    pair: tuple[EntityEvaluation, EntityEvaluation],
    reference: EntityEvaluation | None,
    settings: ReportSettings,
) -> ModelResult:
    own, there = pair
    how = settings.bootstrap(external.main)
    groups: Groups | None = external.groups if settings.by_group else None
    draws: dict[str, Any] = how | {"groups": groups}
    weigh = there.entity_metrics
    changes = {} if reference is None else differences(reference.entity_metrics, weigh, there.documents, **draws)
    apart = how | {"groups": (how["groups"], groups)}
    return replace(
        result,
        quality={name: float(value[0]) for name, value in weigh(np.ones((1, there.documents))).items()},
        intervals=intervals(weigh, there.documents, **draws),
        differences=changes,
        validation={},
        gates=(),
        per_label=tuple(there.label_intervals(**draws).to_dicts()),
        drop=unpaired_differences(own.entity_metrics, weigh, (own.documents, there.documents), **apart)["micro_f1"],
    )


def _evaluations(
    external: ExternalCorpus, result: ModelResult, root: Path
) -> tuple[EntityEvaluation, EntityEvaluation]:
    """Return the predictions of a model for the test documents of the task, and for the external corpus."""
    main, other = external.main, external.task
    own = test_probabilities(main, external.key, result, root)
    there: Probabilities | None
    if result.name == BASELINE:
        baseline, _ = Tfidf(root, external.key).fitted(main)
        there = baseline.probabilities(other.passages(other.examples.members(EVERY)))
    elif result.name == LABELER:
        there = other.labelled_probabilities(EVERY)
    elif result.deployment:
        there = other.probabilities(_deployed(result, other))
    else:
        there = other.probabilities(Trained(result.lineage.artifact).all_logits(other))
    assert there is not None, "the same labeler labels both tasks"
    return main.evaluate("test", own, None), external.evaluate(there)


def test_probabilities(task: Entities, task_key: str, result: ModelResult, root: Path) -> Probabilities:
    """Return the probabilities of a model for the test documents of its task of entities."""
    if result.name == LABELER:
        labels = task.labelled_probabilities("test")
        assert labels is not None, "a comparison has a labeler only where people are not the labeler"
        return labels
    if result.name == BASELINE:
        return Tfidf(root, task_key).fitted(task)[0].probabilities(task.passages(task.examples.members("test")))
    if result.deployment:
        return task.probabilities(Deployment(Path(result.deployment["folder"])).predictions("test"))
    return task.probabilities(result.lineage.artifact.predictions("test"))


def _deployed(result: ModelResult, task: Entities) -> Float[np.ndarray, "units outputs"]:
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
        use = open_model(deployment)
        encoded = task.encode(use.tokenizer, use.inference_config.max_tokens)
        members = task.examples.members(EVERY).tolist()
        log.info("computing the logits of %s for %d documents, once", deployment.name, len(members))
        each = [unit_answers(use.answer, encoded.collate([document]), task.long_notes) for document in members]
        logits = np.concatenate(each)
        artifacts.save_logits(path, task.examples.units(EVERY), logits)
    return logits
