"""Words replaced by words with similar vectors in a model."""

from collections.abc import Iterator, Sequence
from typing import final

import torch

from clinlm.models.initializers.base import Initializer
from clinlm.tasks.base import Task
from clinlm.training.augmentation.neighbours import count_words, neighbours, word_states
from clinlm.training.augmentation.substitution import Substitution, Words, negates


@final
class NeighbourSubstitution(Substitution):
    """Training notes with some words replaced by words of training notes that have similar vectors in a model.

    For models without a masked-language head, such as all-MiniLM-L6-v2.

    Source    Jiao et al. 2020 (TinyBERT), arXiv:1909.10351, algorithm 1, in its branch for words of several pieces,
              with neighbours among GloVe's vectors.
    Departs   a word's vector is the pooled hidden state of the word alone (see `TokenVectors`): the mean of its pieces'
              embeddings finds words that share a piece (hyper-). Neighbours are words of the training documents that
              occur there at least twice. And as `Substitution`.
    Cost      one short row through the model for every word: a minute for 17,000 words of all-MiniLM-L6-v2. Then 1 ms a
              text.

    Args:
        start: the model that reads the words, as a stage's start.
        times, share, candidates, protected: see `Substitution`.
    """

    def __init__(
        self,
        start: Initializer,
        times: int = 4,
        share: float = 0.4,
        candidates: int = 15,
        protected: Sequence[str] = (),
    ) -> None:
        super().__init__(times, share, candidates, protected)
        self.start = start

    def fingerprint(self) -> str:
        return self.start.fingerprint()

    def propose(
        self, texts: Sequence[str], notes: Sequence[Words], task: Task, seed: int
    ) -> Iterator[Sequence[Sequence[str]]]:
        words = count_words(notes)
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)  # an initializer may draw random numbers
            model = self.start.begin(task, None)
        near = {}
        if words:
            states = word_states([*words], model)
            near = neighbours(words, lambda word: not negates(word, words), self.candidates, states)
        for note in notes:
            yield [near.get(word, ()) for word in note]
