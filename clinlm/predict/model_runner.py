"""One model on one thread: rows of similar length in batches, and one note at a time where it rounds its inputs."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, final

from clinlm.engines.selection import open_here
from clinlm.predict.answer_head import AnswerHead, RowLogits, TokenizedNotes
from clinlm.predict.document_head import DocumentHead
from clinlm.predict.note_tokenizer import NoteTokenizer
from clinlm.predict.predictions import Predictions
from clinlm.predict.span_head import SpanHead
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.text.plain_rows import REMEMBERED


def open_head(config: InferenceConfig, coverage: float | None = None) -> AnswerHead[Any]:
    """Return the head for the kind of a model; with a coverage, it answers with sets as well."""
    return SpanHead(config, coverage) if config.kind == "entities" else DocumentHead(config, coverage)


class Runner(ABC):
    """Predicts notes with one model. Subclasses are final.

    Attributes:
        head: turns its logits into predictions.
        needs_plain: whether it cannot read the character for a masked word.
    """

    head: AnswerHead[Any]
    needs_plain: bool = False

    @abstractmethod
    def predict(self, texts: Sequence[str]) -> Predictions:
        """Return the predictions for texts, none of which is refused, in order."""


@final
class ModelRunner(Runner):
    """Predicts notes with a network, as an engine runs it on one thread.

    Args:
        batch_tokens: maximum tokens of a batch, padding included.
        coverage: of the sets that are written as well; None for none.
    """

    def __init__(self, folder: Path, batch_tokens: int, coverage: float | None = None) -> None:
        model = open_here(folder, threads=1)
        self.head = open_head(model.inference_config, coverage)
        self.batch_tokens, self._answer, self._alone = batch_tokens, model.answer, model.inference_config.alone
        by_word = self.head.by_word
        self._tokenize = NoteTokenizer(model.tokenizer, model.inference_config, by_word, REMEMBERED)
        # For a head by word, our character for a masked word is a character like any other.
        self.needs_plain = model.tokenizer.mask_token is None and not by_word

    def predict(self, texts: Sequence[str]) -> Predictions:
        rows, notes = self._tokenize(texts)
        logits: list[RowLogits | None] = [None] * len(rows)
        for batch in single_notes(notes) if self._alone else batches(notes.lengths, self.batch_tokens):
            found = self._answer(*self._tokenize.padded([rows[place] for place in batch]))
            for place, row in zip(batch, found, strict=True):
                logits[place] = row
        predictions: Predictions = self.head.decode(logits, notes)
        return predictions


def single_notes(notes: TokenizedNotes) -> Iterator[list[int]]:
    """Yield the places of the rows of every note; rows without tokens are left out."""
    found: dict[int, list[int]] = {}
    for place, (note, length) in enumerate(zip(notes.document, notes.lengths, strict=True)):
        if length:
            found.setdefault(note, []).append(place)
    yield from found.values()


def batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Yield the places of rows of similar length, the longest rows first.

    Args:
        lengths: of the rows; rows without tokens are left out.
        tokens: maximum of a batch, padding included; a longer row is a batch of its own.
    """
    order = sorted((place for place, length in enumerate(lengths) if length), key=lambda place: -lengths[place])
    start = 0
    while start < len(order):
        size = max(1, tokens // lengths[order[start]])
        yield order[start : start + size]
        start += size
