"""Several transfers together."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import final

from clinlm.tasks.base import Task
from clinlm.training.augmentation.base import Augmentation, check_times, new


@final
@dataclass(frozen=True)
class Several(Augmentation):
    """The texts of several transfers, an equal share from each.

    Attributes:
        parts: by name; each makes at least its share, if it can, or gives what it has.
        times: texts a training document, of all parts together.
    """

    parts: Mapping[str, Augmentation]
    times: int = 4

    def __post_init__(self) -> None:
        check_times(self.times)
        if not self.parts:
            raise ValueError("several transfers are at least one; none came; name some, or set augmentation=none")

    def drafts(self, task: Task, seed: int) -> Iterator[str]:
        """See `Augmentation.drafts`. Part i has the seed `seed` + i."""
        share = -(-self.times * len(task.examples.members("train")) // len(self.parts))
        for number, part in enumerate(self.parts.values()):
            yield from islice(new(part.drafts(task, seed + number), task, Counter()), share)

    def fingerprint(self) -> str:
        """See `Augmentation.fingerprint`."""
        return " ".join(part.fingerprint() for part in self.parts.values())
