"""Interface of teachers: logits for the documents of a task, and for texts without labels."""

from abc import ABC, abstractmethod
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

    The task's link (sigmoid or softmax) maps its logits to its probabilities.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """Name in reports and messages."""

    @property
    @abstractmethod
    def key(self) -> str:
        """The hash of all that its logits depend on."""

    @property
    @abstractmethod
    def artifact(self) -> Artifact | None:
        """Its network on disk, to initialize or imitate; None if it has no network."""

    @abstractmethod
    def training_logits(self, task: Task, precision: str) -> Float[np.ndarray, "units outputs"]:
        """Return the logits of the training documents, in the order of `Examples.units`; cached.

        Args:
            precision: of the computation, as Lightning names it.
        """

    @abstractmethod
    def transfer_logits(self, task: Task, precision: str, transfer: TransferSet) -> Float[np.ndarray, "units outputs"]:
        """Return the logits of the texts of a transfer set, in its order; cached."""

    @abstractmethod
    def split_logits(self, task: Task, split: Measured) -> Float[np.ndarray, "units outputs"]:
        """Return the logits of the documents of a split, as quality is measured on them."""

    @abstractmethod
    def cost(self) -> TeacherCost:
        """Return its size and training time."""
