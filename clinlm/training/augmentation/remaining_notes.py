"""The notes of the task's own corpus that the task does not choose."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from clinlm.tasks.base import Task
from clinlm.training.augmentation.base import Augmentation
from clinlm.training.augmentation.free_notes import check_documents, free_notes


@final
@dataclass(frozen=True)
class RemainingNotes(Augmentation):
    """Notes that have none of the task's labels, or are beyond `task.documents` or `task.training_documents`.

    None of a group or with a text of validation or test is among them.

    Source    Turc et al. 2019, arXiv:1908.08962, "Well-read students learn better": distillation on unlabelled texts of
              the domain.
    Cost      reading the corpus once more.

    Attributes:
        documents: at most so many; None for all.
    """

    documents: int | None = None

    def __post_init__(self) -> None:
        check_documents(self.documents)

    def drafts(self, task: Task, seed: int) -> Iterator[str]:
        """See `Augmentation.drafts`."""
        return free_notes(task.corpus, task, seed, self.documents)
