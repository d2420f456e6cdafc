"""A corpus that no model was trained on, opened as a task with their labels: what external validation is made of."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import final

import numpy as np
from hydra.utils import get_class
from jaxtyping import Float, Int
from omegaconf import DictConfig

from clinlm.config.settings import plain
from clinlm.metrics.bootstrap import Groups
from clinlm.metrics.entity_evaluation import EntityEvaluation
from clinlm.pipeline import execution
from clinlm.tasks.base import Task
from clinlm.tasks.entities import Entities
from clinlm.tasks.examples import EVERY, units_of

Probabilities = Float[np.ndarray, "units outputs"]


@final
@dataclass(frozen=True)
class External:
    """A corpus to test on, and the task that models were built for.

    Attributes:
        main: the task of the models.
        key: of `main`.
        task: the other corpus, as a task with the same labels.
        documents: of it, those whose text the models have not seen.
        name: of the other corpus.
        notices: what has to be known of its documents.
    """

    main: Entities
    key: str
    task: Entities
    documents: Int[np.ndarray, " documents"]
    name: str
    notices: tuple[str, ...]

    def judged(self, probabilities: Probabilities) -> EntityEvaluation:
        """Return answers for all its documents, beside what people said, without documents that models have seen."""
        every = self.task.evaluate(EVERY, probabilities, None)
        if len(self.documents) == every.documents:
            return every
        units = units_of(every.word_start, self.documents)
        chosen = self.documents.tolist()
        words, truth = [every.words[one] for one in chosen], [every.truth[one] for one in chosen]
        return EntityEvaluation(every.tags, words, truth, probabilities[units])

    @cached_property
    def groups(self) -> Groups:
        """The group of each document."""
        groups: Groups = self.task.examples.frame["group"].gather(self.documents).to_numpy()
        return groups


def opened_external(config: DictConfig, task: Task, task_key: str) -> External | None:
    """Return the corpus of `config.external` beside the task of the models; None where there is none.

    Its labels are those of the task, its labeler labels it as well, and all its documents are read: nothing is learned
    from them. Documents whose text (in lower case, runs of white space as one space) stands in training or validation
    of the task are left out.

    Args:
        config: whole.
        task: of the models, opened.
        task_key: its key.

    Raises:
        ValueError: one of the two is no task of entities, their labels differ, or they have the same documents.
    """
    if config.get("external") is None:
        return None
    settings = plain(config.external)
    if not isinstance(task, Entities) or not issubclass(get_class(settings["_target_"]), Entities):
        raise ValueError(
            "external validation is of entities; the task or external is of another kind; set external=none, or take "
            "tasks of entities for both"
        )
    labels = task.tags.labels
    if settings.get("labels") is not None and set(settings["labels"]) != set(labels):
        raise ValueError(
            f"models are tested for the labels they know; task has {', '.join(labels)}, external.labels has "
            f"{', '.join(map(str, settings['labels']))}; leave external.labels null, or set task.labels"
        )
    try:
        other, _ = execution.opened_task(settings | {"labels": list(labels)}, Path(config.store))
    except ValueError as error:
        raise ValueError(
            f"external: {error} (here it is external.*, and the labels are those of the task: set task.labels to those "
            "that people used in both)"
        ) from error
    assert isinstance(other, Entities)
    name = Path(settings["root"]).name if settings.get("root") else type(other.corpus).__name__
    if other.corpus.fingerprint() == task.corpus.fingerprint():
        raise ValueError(f"external validation is of another corpus; task and external both read {name}; set external=")
    kept, seen = _unseen(task, other)
    if not len(kept):
        raise ValueError(
            f"external validation is of other documents; all {seen:,} of {name} stand in training or validation of the "
            "task; set external= to another corpus"
        )
    told = [f"{seen:,} of {seen + len(kept):,} documents left out: training or validation has their text"] * bool(seen)
    return External(task, task_key, other, kept, name, (*told, *other.examples.notices))


def _unseen(task: Task, other: Task) -> tuple[Int[np.ndarray, " documents"], int]:
    """Return the numbers of the documents that a model has not seen, and how many it has."""
    seen = {_plain(text) for split in ("train", "validation") for text in task.texts(split)}
    new = np.array([_plain(text) not in seen for text in other.texts(EVERY)])
    return np.flatnonzero(new), int((~new).sum())


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
