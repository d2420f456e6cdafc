"""Pieces of several training notes, interleaved."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from clinlm.config.errors import ConfigError
from clinlm.tasks.base import Task
from clinlm.text.sections import split_sections
from clinlm.text.sentences import sentences
from clinlm.training.augmentation.base import Augmentation, check_times


@final
@dataclass(frozen=True)
class Mixing(Augmentation):
    """One text from every training note and others drawn at random: a share of the pieces of each, interleaved.

    Pieces are sections, or sentences where a note has fewer than two sections. Those of one note keep their order; the
    note of the next piece is drawn.

    Source    ours; after mixup (Zhang et al. 2018, arXiv:1710.09412), on texts.
    Departs   labels are not mixed: the teacher's logits replace them.
    Cost      seconds, and 10 ms for the sentences of a note without sections.

    Attributes:
        notes: mixed into one text, at least 2; of each, one part in `notes` of its pieces, at least one.
        times: texts a training document.

    Raises:
        ConfigError: a setting out of its range; (on drafting) fewer training documents than `notes`.
    """

    notes: int = 2
    times: int = 4

    def __post_init__(self) -> None:
        check_times(self.times)
        if self.notes < 2:
            raise ConfigError(f"augmentation.notes must be at least 2, got {self.notes}")

    def drafts(self, task: Task, seed: int) -> Iterator[str]:
        rng = np.random.default_rng(seed)
        every = _pieces(task.texts("train"))
        if len(every) < self.notes:
            raise ConfigError(
                f"mixing needs at least {self.notes} training documents, got {len(every)}; lower augmentation.notes"
            )
        for _ in range(self.times):
            for number in range(len(every)):
                others = rng.choice(len(every) - 1, self.notes - 1, replace=False)
                chosen = [number, *(other + (other >= number) for other in others)]
                yield "\n".join(_interleaved([self._drawn(every[note], rng) for note in chosen], rng))

    def _drawn(self, pieces: Sequence[str], rng: np.random.Generator) -> list[str]:
        size = max(1, round(len(pieces) / self.notes))
        return [pieces[place] for place in np.sort(rng.choice(len(pieces), size, replace=False))]


def _interleaved(notes: Sequence[Sequence[str]], rng: np.random.Generator) -> Iterator[str]:
    """Yield the pieces of all notes, those of each in their order."""
    left = [iter(note) for note in notes]
    for number in rng.permutation(np.repeat(np.arange(len(notes)), [len(note) for note in notes])):
        yield next(left[number])


def _pieces(texts: Sequence[str]) -> list[list[str]]:
    """Return the pieces of every text."""
    found = [[part.strip() for part in split_sections(text)] for text in texts]
    whole = [place for place, pieces in enumerate(found) if len(pieces) < 2]
    for place, cut in zip(whole, sentences(texts[place] for place in whole), strict=True):
        found[place] = [sentence.text for sentence in cut]
    return found
