"""From the text of one note to its decisions, as a service answers: what every latency of a report includes."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
from jaxtyping import Float

from clinlm.engines.base import Answer, Logits, Rows
from clinlm.metrics.latency import Phased
from clinlm.predict.answer_head import AnswerHead, RowLogits, TokenizedNotes
from clinlm.predict.model_runner import open_head
from clinlm.predict.note_tokenizer import NoteTokenizer
from clinlm.predict.predictions import Predictions
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.text.contexts import contexts
from clinlm.text.stored_tokenizer import TextTokenizer
from clinlm.text.words import words

if TYPE_CHECKING:
    from clinlm.models.model import Model

UnitLogits = Float[np.ndarray, "units outputs"]


class NoteAnswer(ABC):
    """Answers one note at a time. Subclasses are final.

    Args:
        config: how logits become decisions.

    Attributes:
        head: turns logits into decisions.
    """

    def __init__(self, config: InferenceConfig) -> None:
        self.head: AnswerHead[Any] = open_head(config)

    @abstractmethod
    def logits(self, text: str) -> tuple[UnitLogits, TokenizedNotes]:
        """Return the logits of the note, or of its words, and how the note was read."""

    @final
    def __call__(self, text: str) -> Predictions:
        """Return the decisions for a note."""
        predictions: Predictions = self.head.decide(*self.logits(text))
        return predictions


@final
@dataclass(frozen=True)
class EncodedNote:
    """A note as a network reads it.

    Attributes:
        notes: its rows.
        places: of the rows with tokens, which alone are in `input_ids`.
    """

    notes: TokenizedNotes
    places: list[int]
    input_ids: Rows
    attention_mask: Rows


@final
class NetworkAnswer(NoteAnswer):
    """A network in an engine: tokenizing, padding, the network, pooling, probabilities, decisions.

    Args:
        answer: from token ids to logits.
        config: as in the model's `serving.json`.
    """

    def __init__(self, answer: Answer, tokenizer: TextTokenizer, config: InferenceConfig) -> None:
        super().__init__(config)
        self._answer, self._outputs = answer, len(config.labels)
        self._tokenize = NoteTokenizer(tokenizer, config, self.head.by_word)

    def logits(self, text: str) -> tuple[UnitLogits, TokenizedNotes]:
        encoded = self.encode(text)
        return self.head.pool(_by_row(encoded, self.network(encoded)), encoded.notes), encoded.notes

    def phased(self) -> Phased[str, EncodedNote, Logits]:
        """Return the same in phases, so that the network can be timed by itself."""
        return Phased(self.encode, self.network, self.decide)

    def encode(self, text: str) -> EncodedNote:
        """Return the rows of a note, collated."""
        rows, notes = self._tokenize([text])
        places = [place for place, length in enumerate(notes.lengths) if length]
        if not places:
            empty = np.zeros((0, 0), np.int64)
            return EncodedNote(notes, places, empty, empty)
        return EncodedNote(notes, places, *self._tokenize.padded([rows[place] for place in places]))

    def network(self, encoded: EncodedNote) -> Logits:
        """Return the logits of the rows; a note without tokens needs no network."""
        if not encoded.places:
            return np.zeros((0, self._outputs), np.float32)
        return self._answer(encoded.input_ids, encoded.attention_mask)

    def decide(self, encoded: EncodedNote, outputs: Logits) -> Predictions:
        """Return the decisions from the logits of the rows."""
        predictions: Predictions = self.head.decode(_by_row(encoded, outputs), encoded.notes)
        return predictions


def network_answer(model: "Model", config: InferenceConfig) -> NetworkAnswer:
    """Return what answers with the network of an artifact, in eager torch."""
    from clinlm.engines.torch import network_answers  # here: other engines need no torch

    return NetworkAnswer(network_answers(model.network), model.tokenizer, config)


def _by_row(encoded: EncodedNote, outputs: Logits) -> list[RowLogits | None]:
    found: list[RowLogits | None] = [None] * len(encoded.notes.lengths)
    for place, row in zip(encoded.places, outputs, strict=True):
        found[place] = row
    return found


@final
class TermsAnswer(NoteAnswer):
    """A model of terms, such as TF-IDF: reading words is part of it.

    Args:
        linked: from passages (the note, or its words with their neighbours) to logits that the link of the task maps to
            probabilities, such as `clinlm.metrics.term_model.linked_logits`.
        config: as in the model's `serving.json`.
    """

    def __init__(self, linked: Callable[[Sequence[str]], UnitLogits], config: InferenceConfig) -> None:
        super().__init__(config)
        self._linked = linked

    def logits(self, text: str) -> tuple[UnitLogits, TokenizedNotes]:
        notes = notes_as_rows([text], self.head.by_word)
        return self._linked(contexts(text, notes.words[0]) if self.head.by_word else [text]), notes


def notes_as_rows(texts: Sequence[str], by_word: bool) -> TokenizedNotes:
    """Return texts that are not tokenized: a note is one row, and a word of a tagger is one token of it."""
    notes = TokenizedNotes(len(texts), list(range(len(texts))), [1] * len(texts), [], [])
    if by_word:
        notes.words += map(words, texts)
        notes.lengths[:] = map(len, notes.words)
        notes.places += [np.arange(length) for length in notes.lengths]
    return notes


@final
class EnsembleAnswer(NoteAnswer):
    """Several models, one after another, each of which reads the text for itself, and their combined logits.

    Args:
        members: at least one.
        combine: the logits (members, units, outputs) into one (units, outputs).
        config: how the combined logits become decisions.
    """

    def __init__(
        self,
        members: Sequence[NoteAnswer],
        combine: Callable[[Float[np.ndarray, "members units outputs"]], UnitLogits],
        config: InferenceConfig,
    ) -> None:
        super().__init__(config)
        self._members, self._combine = members, combine

    def logits(self, text: str) -> tuple[UnitLogits, TokenizedNotes]:
        each = [member.logits(text) for member in self._members]
        return self._combine(np.stack([found for found, _ in each])), each[0][1]
