"""Which spans of a note name an entity."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
import polars as pl
import torch
from jaxtyping import Float

from clinlm.predict.answers import Found, Written, rounded
from clinlm.predict.question import Question, Reading
from clinlm.predict.span_shadow import SpanShadow
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.terminology.spans import Span
from clinlm.text.long_notes import unit_logits
from clinlm.text.tags import Tags
from clinlm.text.words import Words

_SPAN = {"start": pl.Int64(), "end": pl.Int64(), "label": pl.String(), "probability": pl.Float64()}


@final
class SpanQuestion(Question[Found]):
    """Which spans of a note name an entity: `spans`, a list of `start`, `end`, `label`, `probability`.

    `start` and `end` (exclusive) count characters of the text, Unicode code points, from 0. Spans come in order, and
    none shares a character with another. Every word has its most probable tag; `probability` of a span is the least
    that one of its words gives its tag: a span is as sure as its least sure word. In a table without lists `spans` is
    a cell of JSON.
    """

    by_word = True

    def __init__(self, serving: InferenceConfig) -> None:
        self.tags = Tags.named(serving.labels)
        super().__init__(serving, self.tags.labels)

    def said(self, logits: Sequence[torch.Tensor | None], reading: Reading) -> Found:
        """See `Question.said`: a word is answered for in one row, see `clinlm.text.long_notes.unit_logits`."""
        rows = [one[:many] for one, many in zip(logits, reading.lengths, strict=True) if one is not None]
        # The last row is for notes without a token: words that stand in no row point at some token all the same.
        tokens = torch.cat([*rows, torch.zeros(1, len(self.serving.labels))]).float()
        begin = np.cumsum([0, *reading.lengths])[np.searchsorted(reading.document, np.arange(reading.notes))]
        moved = [np.where(own < 0, -1, own + start) for own, start in zip(reading.places, begin.tolist(), strict=True)]
        place = torch.from_numpy(np.concatenate([*moved, np.zeros(0, np.int64)]))
        found = unit_logits(tokens.unsqueeze(0), {"place": place}, self.serving.long_notes)
        probabilities = self.serving.probabilities(found.numpy())
        cuts = np.cumsum([len(own) for own in reading.places])[:-1]
        each = np.split(probabilities, cuts) if reading.notes else []
        return self._found(each, reading)

    def _found(self, probabilities: Sequence[Float[np.ndarray, "_ tags"]], reading: Reading) -> Found:
        tags = [own.argmax(axis=1) for own in probabilities]
        spans = [self.tags.decode(own, around) for own, around in zip(tags, reading.words, strict=True)]
        four = zip(spans, probabilities, reading.words, strict=True)
        return Found(
            spans,
            [_least(own, values.max(axis=1), around) for own, values, around in four],
            tags,
            np.array([(own < 0).sum() for own in reading.places], dtype=np.int64),
            np.array([np.isfinite(own).all() for own in probabilities], dtype=bool),
        )

    def schema(self) -> dict[str, Any]:
        """See `Question.schema`."""
        return {"spans": pl.List(pl.Struct(_SPAN))}

    def rows(self, said: Found) -> list[Written]:
        """See `Question.rows`."""
        return [
            {"spans": [{**one._asdict(), "probability": rounded(p)} for one, p in zip(own, values, strict=True)]}
            for own, values in zip(said.spans, said.probabilities, strict=True)
        ]

    def headings(self) -> list[str]:
        """See `Question.headings`."""
        return ["spans"]

    def cells(self, row: Written, prefix: str) -> list[Any]:
        """See `Question.cells`."""
        return [json.dumps(row[f"{prefix}spans"], ensure_ascii=False)]

    def predicted(self, said: Found) -> Mapping[str, int]:
        """See `Question.predicted`: by how many spans."""
        counts = Counter(one.label for own in said.spans for one in own)
        return {label: counts[label] for label in self.labels}

    def totals(self, said: Found) -> Mapping[str, float]:
        """See `Question.totals`: words, those that stand in no row of the model, and the notes that have some."""
        return {
            "words": sum(map(len, said.tags)),
            "words_unread": int(said.unread.sum()),
            "documents_cut": int((said.unread > 0).sum()),
        }

    def told(self, totals: Mapping[str, float]) -> Sequence[str]:
        """See `Question.told`: what was not read."""
        if not totals.get("words_unread"):
            return []
        return [
            f"unread     {totals['words_unread']:,} of {totals['words']:,} words, in {totals['documents_cut']:,} "
            f"notes; there no span is found: the model reads {self.serving.long_notes} of {self.serving.max_tokens} "
            "tokens"
        ]

    def comparison(self, counts: dict[str, Any] | None) -> SpanShadow:
        """See `Question.comparison`."""
        return SpanShadow(self.labels, counts)


def _least(spans: Sequence[Span], sure: Float[np.ndarray, " words"], words: Words) -> list[float]:
    """Return the least of the words' numbers in every span."""
    first = np.searchsorted(words[:, 0], [one.start for one in spans])
    last = np.searchsorted(words[:, 1], [one.end for one in spans]) + 1
    return [float(sure[begin:end].min()) for begin, end in zip(first.tolist(), last.tolist(), strict=True)]
