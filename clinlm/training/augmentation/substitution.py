"""Base of substitutions: which words of training notes are replaced, and how; subclasses propose replacements."""

import re
from abc import abstractmethod
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from clinlm.config.errors import ConfigError
from clinlm.tasks.base import Task
from clinlm.text.negation_triggers import TRIGGERS
from clinlm.text.normalization import HEADER
from clinlm.training.augmentation.base import Augmentation, check_times

_NUMBERS = """one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million first second third
fourth fifth sixth seventh eighth ninth tenth once twice thrice half quarter double triple single dozen
ii iii iv vi vii viii ix"""
_SIDES = ("preceding_negations", "following_negations")
_CUES = {cue for lists in TRIGGERS.values() for side in _SIDES for cue in lists[side]}
PROTECTED = frozenset(
    ENGLISH_STOP_WORDS | set(_NUMBERS.split()) | {"positive"} | {word for cue in _CUES for word in cue.split()}
)
"""Numbers, negations and stop words: replacing them would change what is true, or (as in TinyBERT) nothing."""

_BEFORE = "non un in im ir dis ab an a".split()
_NEGATES = [re.compile(pattern) for pattern in (*(rf"{prefix}(\w{{4,}})" for prefix in _BEFORE), r"(\w{3,})less")]
_SHORTEST = 3
_WORD = re.compile(r"(?<![\w'’-])[^\W\d_]+(?![\w'’-])")
"""Letters between spaces and punctuation: no number, no part of don't, B-12 or follow-up."""
_WHOLE = re.compile(r"\[\*\*.*?\*\*\]", re.DOTALL)
"""De-identified spans of MIMIC."""


@dataclass(frozen=True)
class Words:
    """A note split into words that may be replaced and the text between them.

    Attributes:
        pieces: joined, they are the note; every second one, from the second on, is such a word.
        starts: offset of each of these words in the note.
    """

    pieces: Sequence[str]
    starts: Sequence[int]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the words that may be replaced, in lower case."""
        return (word.lower() for word in self.pieces[1::2])


class Substitution(Augmentation):
    """Training notes with some words replaced by plausible others. Subclasses are final.

    Source: Jiao et al. 2020 (TinyBERT), arXiv:1909.10351, algorithm 1: every word with a probability, by one of the
    equally likely candidates; there 20 texts a document, 0.4 and 15.
    Departs: words in `PROTECTED` (numbers, negations, stop words), words that negate another known word (afebrile,
    nontender, painless), headers and words of less than 3 letters are neither replaced nor inserted, as they would
    change what is true.

    Args:
        times: texts a training document.
        share: share of the words that may be replaced, in (0, 1].
        candidates: words to choose from for each.
        protected: further words to protect, in any case.
    """

    def __init__(self, times: int = 4, share: float = 0.4, candidates: int = 15, protected: Sequence[str] = ()) -> None:
        check_times(times)
        if not 0 < share <= 1:
            raise ConfigError(f"augmentation.share must be in (0, 1], got {share}")
        if candidates < 1:
            raise ConfigError(f"augmentation.candidates must be at least 1, got {candidates}")
        self.times, self.share, self.candidates = times, share, candidates
        self.protected = PROTECTED | {word.lower() for word in protected}

    @abstractmethod
    def propose(
        self, texts: Sequence[str], notes: Sequence[Words], task: Task, seed: int
    ) -> Iterator[Sequence[Sequence[str]]]:
        """Yield, for every note, the candidates for each of its words, in lower case; possibly none."""

    @final
    def drafts(self, task: Task, seed: int) -> Iterator[str]:
        rng = np.random.default_rng(seed)
        texts = task.texts("train")
        notes = [self.words(text) for text in texts]
        proposed = list(self.propose(texts, notes, task, seed))
        for _ in range(self.times):
            for note, candidates in zip(notes, proposed, strict=True):
                yield self._written(note, candidates, rng)

    def words(self, text: str) -> Words:
        """Return the words of `text` that may be replaced."""
        whole = [match.span() for pattern in (HEADER, _WHOLE) for match in pattern.finditer(text)]
        pieces, starts, end = [], [], 0
        for match in _WORD.finditer(text):
            start = match.start()
            if self.free(match[0].lower()) and not any(low <= start < high for low, high in whole):
                pieces += [text[end:start], match[0]]
                starts.append(start)
                end = match.end()
        return Words([*pieces, text[end:]], starts)

    def free(self, word: str) -> bool:
        """Return whether a word in lower case may be replaced, or inserted."""
        return len(word) >= _SHORTEST and word not in self.protected

    def _written(self, note: Words, candidates: Sequence[Sequence[str]], rng: np.random.Generator) -> str:
        pieces, draw = list(note.pieces), rng.random((2, len(candidates)))
        for place in np.flatnonzero(draw[0] < self.share).tolist():
            own = candidates[place]
            if own:
                pieces[2 * place + 1] = _written_as(pieces[2 * place + 1], own[int(draw[1, place] * len(own))])
        return "".join(pieces)


def negates(word: str, known: Container[str]) -> bool:
    """Return whether `word` is a known word with a negating prefix or suffix."""
    found = (pattern.fullmatch(word) for pattern in _NEGATES)
    return any(match is not None and match[1] in known for match in found)


def _written_as(old: str, new: str) -> str:
    """Return `new` with the capitalization of `old`."""
    if old.isupper():
        return new.upper()
    return new.capitalize() if old[0].isupper() else new
