"""Teachers that are artifacts of earlier stages."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
from jaxtyping import Float, Int

from clinlm.models import artifact as artifacts
from clinlm.models.artifact import Artifact
from clinlm.store.locks import locked
from clinlm.tasks.base import Task
from clinlm.tasks.encoded import Encoded
from clinlm.tasks.examples import EVERY
from clinlm.tasks.transfer_set import TransferSet
from clinlm.training.teachers.base import Measured, TeacherSource
from clinlm.training.teachers.teacher_cost import TeacherCost

if TYPE_CHECKING:  # what a stage wrote is read without torch; only logits that are not kept need its network
    from clinlm.models.model import Model

log = logging.getLogger(__name__)
Answered = Float[np.ndarray, "units outputs"]


@final
@dataclass(frozen=True)
class Trained(TeacherSource):
    """The model of an artifact. Its logits are cached in its folder, one file a task, precision and set of texts.

    Attributes:
        label: name of the stage in this pipeline; "" for the name in the artifact.
    """

    source: Artifact
    label: str = ""

    @property
    def name(self) -> str:
        return self.label or self.source.stage

    @property
    def key(self) -> str:
        return self.source.key

    @property
    def artifact(self) -> Artifact:
        return self.source

    def training_logits(self, task: Task, precision: str) -> Float[np.ndarray, "units outputs"]:
        members = task.examples.members("train")

        def encoded(model: "Model") -> Encoded:
            return task.encode(model.tokenizer, min(model.max_tokens, task.max_tokens))

        return self._cached(f"{_task(task)}-{precision}", task, precision, members, encoded)

    def transfer_logits(self, task: Task, precision: str, transfer: TransferSet) -> Float[np.ndarray, "units outputs"]:
        """See `TeacherSource.transfer_logits`."""

        def encoded(model: "Model") -> Encoded:
            return task.encoded_texts(transfer.texts, model.tokenizer, min(model.max_tokens, task.max_tokens))

        every = np.arange(len(transfer.texts))
        return self._cached(f"{_task(task)}-{precision}-{transfer.key}", task, precision, every, encoded)

    def split_logits(self, task: Task, split: Measured) -> Float[np.ndarray, "units outputs"]:
        """See `TeacherSource.split_logits`: those that the stage wrote, in float32."""
        return self.source.predictions(split)

    def all_logits(self, task: Task) -> Float[np.ndarray, "units outputs"]:
        """Return the logits of all documents of a task that it was not trained on, in float32; cached.

        Args:
            task: opened, with the same outputs.
        """

        def encoded(model: "Model") -> Encoded:
            return task.encode(model.tokenizer, min(model.max_tokens, task.max_tokens))

        name = f"{EVERY}-{_task(task)}"
        return self._cached(name, task, "32-true", task.examples.members(EVERY), encoded)

    def cost(self) -> TeacherCost:
        report = self.source.report
        return TeacherCost(report["parameters"], report["nonzero"], report["bytes"], report["seconds"])

    def _cached(
        self,
        name: str,
        task: Task,
        precision: str,
        documents: Int[np.ndarray, " asked"],
        encoded: "Callable[[Model], Encoded]",
    ) -> Answered:
        path = self.source.folder / "logits" / f"{name}.safetensors"
        with locked(path):
            if path.exists():
                try:
                    return artifacts.load_logits(path)[1]
                except ValueError as damage:
                    log.warning("%s; computing them again", damage)
            import torch

            from clinlm.models.layers.base import reads_alone
            from clinlm.tasks.batches import ordered_loader
            from clinlm.training.modules.base import predict

            log.info("computing the logits of %s for %d documents", self.name, len(documents))
            model = self.source.load()
            rows = encoded(model)
            size = 1 if reads_alone(model.network) else 32
            loader = ordered_loader(rows, documents, rows.collate, size)
            with torch.autocast("cpu", torch.bfloat16, enabled=precision.startswith("bf16")):
                index, logits = predict(model.network, loader, task.long_notes)
            artifacts.save_logits(path, index, logits)
        return artifacts.load_logits(path)[1]  # mapped


def _task(task: Task) -> str:
    assert task.folder is not None
    return task.folder.name
