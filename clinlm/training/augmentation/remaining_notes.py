"""Notes of the task's corpus that the task does not use."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from clinlm.tasks.base import Task
from clinlm.training.augmentation.base import Augmentation, check_documents, free_notes


@final
@dataclass(frozen=True)
class RemainingNotes(Augmentation):
    """Notes with none of the task's labels, or beyond `task.documents` or `task.training_documents`.

    Notes of a group or with a text of validation or test are left out.

    Source    Turc et al. 2019, arXiv:1908.08962, "Well-read students learn better": distillation on unlabelled texts of
              the domain.
    Cost      reading the corpus once more.

    Attributes:
        documents: the most texts; None for all.
    """

    documents: int | None = None

    def __post_init__(self) -> None:
        check_documents(self.documents)

    def drafts(self, task: Task, seed: int) -> Iterator[str]:
        return free_notes(task.corpus, task, seed, self.documents)
