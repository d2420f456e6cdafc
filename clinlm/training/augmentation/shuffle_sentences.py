"""Training notes with shuffled sentences."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from clinlm.tasks.base import Task
from clinlm.text.sentences import sentences
from clinlm.training.augmentation.base import Augmentation, check_times, shuffled


@final
@dataclass(frozen=True)
class ShuffleSentences(Augmentation):
    """Every training note with its sentences in random order, across sections.

    Source    ours; sentences as `clinlm.text.sentences` finds them: a header stays with the first sentence of its
              line.
    Cost      10 ms a training document, for its sentences; then little.

    Attributes:
        times: most texts a training document; repeated orders are left out.
    """

    times: int = 4

    def __post_init__(self) -> None:
        check_times(self.times)

    def drafts(self, task: Task, seed: int) -> Iterator[str]:
        notes = [[sentence.text for sentence in note] for note in sentences(task.texts("train"))]
        return shuffled(notes, self.times, seed, "\n")
