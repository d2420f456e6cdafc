"""What every teacher promises: its logits for the documents of a task, and for texts without labels."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import Float

from clinlm.models.artifact import Artifact
from clinlm.tasks.base import Task
from clinlm.tasks.transfer_set import TransferSet
from clinlm.training.teachers.teacher_cost import TeacherCost

Measured = Literal["validation", "test"]


class TeacherSource(ABC):
    """A teacher, alone or one of an ensemble. Subclasses are final.

    Logits are such that the task's own link (sigmoid or softmax) makes the member's probabilities of them.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """What it is called in reports and messages."""

    @property
    @abstractmethod
    def key(self) -> str:
        """The hash of all that its answers depend on."""

    @property
    @abstractmethod
    def artifact(self) -> Artifact | None:
        """Its network on disk, for those who go on from it or learn from its inside; None if it is no network."""

    @abstractmethod
    def training_logits(self, task: Task, precision: str) -> Float[np.ndarray, "units outputs"]:
        """Return the logits of the training documents, in the order of `Examples.units`; computed only once.

        Args:
            task: opened.
            precision: to compute in, in Lightning's words.
        """

    @abstractmethod
    def transfer_logits(self, task: Task, precision: str, transfer: TransferSet) -> Float[np.ndarray, "units outputs"]:
        """Return the logits of the texts of a transfer set, in its order; computed only once.

        Args:
            task: opened.
            precision: as `training`.
            transfer: the texts.
        """

    @abstractmethod
    def split_logits(self, task: Task, split: Measured) -> Float[np.ndarray, "units outputs"]:
        """Return the logits of the documents of a split that nothing was fitted on, as quality is measured."""

    @abstractmethod
    def cost(self) -> TeacherCost:
        """Return what it takes."""

    @abstractmethod
    def timed_predictor(self, task: Task) -> Callable[[int], Float[np.ndarray, "units outputs"]]:
        """Return what maps the number of a document to its logits, to be timed: everything whose time counts."""
