"""Several augmentations together."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import final

from clinlm.config.errors import ConfigError
from clinlm.tasks.base import Task
from clinlm.training.augmentation.base import Augmentation, check_times, new


@final
@dataclass(frozen=True)
class Several(Augmentation):
    """The texts of several augmentations, an equal share from each.

    Attributes:
        parts: augmentations by name; each gives its share, or fewer if it makes no more.
        times: texts a training document, all parts together.
    """

    parts: Mapping[str, Augmentation]
    times: int = 4

    def __post_init__(self) -> None:
        check_times(self.times)
        if not self.parts:
            raise ConfigError("augmentation.parts must name at least one, got none; or set augmentation=none")

    @property
    def released(self) -> bool:
        return all(part.released for part in self.parts.values())

    def drafts(self, task: Task, seed: int) -> Iterator[str]:
        """See `Augmentation.drafts`. Part i has the seed `seed` + i."""
        share = -(-self.times * len(task.examples.members("train")) // len(self.parts))
        for number, part in enumerate(self.parts.values()):
            yield from islice(new(part.drafts(task, seed + number), task, Counter()), share)

    def fingerprint(self) -> str:
        return " ".join(part.fingerprint() for part in self.parts.values())
