"""Training notes with shuffled sections."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from clinlm.tasks.base import Task
from clinlm.text.sections import split_sections
from clinlm.training.augmentation.base import Augmentation, check_times, shuffled


@final
@dataclass(frozen=True)
class ShuffleSections(Augmentation):
    """Every training note with its sections in random order.

    So a model that reads only the first tokens of a note sees other sections. Notes of one section stay the same.

    Source    ours; sections as `clinlm.text.sections` finds them.
    Cost      seconds.

    Attributes:
        times: most texts a training document; repeated orders are left out.
    """

    times: int = 4

    def __post_init__(self) -> None:
        check_times(self.times)

    def drafts(self, task: Task, seed: int) -> Iterator[str]:
        notes = [[part.strip() for part in split_sections(text)] for text in task.texts("train")]
        return shuffled(notes, self.times, seed, "\n\n")
