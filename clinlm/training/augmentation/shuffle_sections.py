"""Training notes with their sections in another order."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from clinlm.metrics.sections import split_sections
from clinlm.tasks.base import Task
from clinlm.training.augmentation.base import Augmentation, check_times, shuffled


@final
@dataclass(frozen=True)
class ShuffleSections(Augmentation):
    """Every training note with its sections in random order.

    A model that reads the first tokens of a note only sees other sections so. Notes of one section have no other order.

    Source    issue 5 (section shuffles); sections as `clinlm.metrics.sections` finds them.
    Cost      seconds.

    Attributes:
        times: texts a training document, at most: orders that came before are left out.
    """

    times: int = 4

    def __post_init__(self) -> None:
        check_times(self.times)

    def drafts(self, task: Task, seed: int) -> Iterator[str]:
        """See `Augmentation.drafts`."""
        notes = [[part.strip() for part in split_sections(text)] for text in task.texts("train")]
        return shuffled(notes, self.times, seed, "\n\n")
