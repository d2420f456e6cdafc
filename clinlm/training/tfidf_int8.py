"""The TF-IDF baseline of a task with the terms that matter and INT8 weights, kept in the store beside the whole one."""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self, final

import numpy as np
from jaxtyping import Float

from clinlm.config.runtime import Stopwatch
from clinlm.metrics.int8_baseline import INT8_FILES, Int8Baseline
from clinlm.metrics.term_model import linked_logits
from clinlm.store.content import claim, read_record, seal
from clinlm.store.key import cache_key
from clinlm.tasks.base import Task
from clinlm.tasks.inference_config import SERVING
from clinlm.text.group_floor import GroupFloor, LearntTerms
from clinlm.training.teachers.base import Measured
from clinlm.training.teachers.tfidf import Tfidf, drawn_groups, drawn_passages, stored_logits

log = logging.getLogger(__name__)


@final
@dataclass(frozen=True)
class TfidfInt8:
    """An `Int8Baseline`, fitted once a task on the documents of `Tfidf`, with its logits, in the store.

    Its folder is served as it is: `serving.json` has thresholds that were fitted on validation with its own
    probabilities. Its seconds include those of the whole baseline, which it is made from.
    """

    root: Path
    task_key: str

    @classmethod
    def of(cls, task: Task) -> Self:
        """Return the INT8 baseline of an opened task, in the store of the task."""
        assert task.folder is not None
        return cls(task.folder.parent, task.folder.name.removeprefix("task-"))

    @property
    def folder(self) -> Path:
        """Folder of the fitted baseline."""
        return self.root / f"tfidf_int8-{cache_key({'_target_': f'{__name__}.TfidfInt8'}, self.task_key)}"

    @property
    def bytes(self) -> int:
        """Size on disk of what is served, once it is fitted."""
        return sum((self.folder / name).stat().st_size for name in (*INT8_FILES, SERVING))

    def fitted(self, task: Task) -> tuple[Int8Baseline, bool]:
        """Return the baseline, and whether it was cached. Fits the whole baseline before it, if that is not stored.

        Raises:
            DataError: TF-IDF cannot be fitted on the task.
        """
        with claim(self.folder) as there:
            if not there:
                member = Tfidf(self.root, self.task_key)
                whole, _ = member.fitted(task)
                log.info("choosing the terms of TF-IDF with INT8 weights")
                clock = Stopwatch()
                train, validation = (drawn_passages(task, split) for split in ("train", "validation"))
                floor = GroupFloor.of(drawn_groups(task, "train"), task.min_groups)
                model = Int8Baseline.fit(whole, *train, *validation, floor)
                seconds = read_record(member.folder)["seconds"] + clock.seconds()
                model.save(self.folder)
                texts = task.passages(task.examples.members("validation"))
                served = task.inference_config(linked_logits(model, texts, task.kind), task.max_tokens)
                served.save(self.folder)
                terms = LearntTerms(len(model.vocabulary), model.rare, task.min_groups)
                facts = {"key": self.folder.name, "task": self.task_key, "seconds": seconds}
                seal(self.folder, facts | {"vocabulary": asdict(terms)})
        return Int8Baseline.load(self.folder), there

    def split_logits(self, task: Task, split: Measured) -> Float[np.ndarray, "units outputs"]:
        """Return the logits of the units of a split, kept in the folder."""

        def answers(model: Int8Baseline) -> Float[np.ndarray, "units outputs"]:
            return linked_logits(model, task.passages(task.examples.members(split)), task.kind)

        return stored_logits(self.folder, split, lambda: self.fitted(task)[0], answers)
