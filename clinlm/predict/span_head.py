"""Spans of entities in a note."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any, final

import numpy as np
from jaxtyping import Float

from clinlm.predict.answer_head import AnswerHead, RowLogits, TokenizedNotes
from clinlm.predict.possible_spans import PossibleSpans, further_spans, sure_spans
from clinlm.predict.predictions import Row, SpanPredictions, rounded
from clinlm.predict.span_comparison import SpanComparison
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.terminology.spans import Span
from clinlm.text.long_notes import word_logits
from clinlm.text.tags import Tags
from clinlm.text.words import Words


@final
class SpanHead(AnswerHead[SpanPredictions]):
    """Spans of entities in a note: `spans`, a list of `start`, `end`, `label`, `probability`.

    `start` and `end` (exclusive) count characters of the text, Unicode code points, from 0. Spans are in order and do
    not overlap. Every word has its most probable tag; `probability` of a span is the lowest probability of the tags of
    its words.

    With a coverage spans also have `sure`, and notes `possible` (where further spans may be: `start`, `end`, `label`)
    and `abstained`; see `clinlm.predict.possible_spans`.
    """

    by_word = True

    def __init__(self, config: InferenceConfig, coverage: float | None = None) -> None:
        self.tags = Tags.named(config.labels)
        super().__init__(config, self.tags.labels, coverage)

    def pool(self, logits: Sequence[RowLogits | None], notes: TokenizedNotes) -> Float[np.ndarray, "words tags"]:
        rows = [row[:length] for row, length in zip(logits, notes.lengths, strict=True) if row is not None]
        # The last row is for notes without a token: words that are in no row still point at some token.
        tokens = np.concatenate([*rows, np.zeros((1, len(self.config.labels)), np.float32)])
        starts = np.cumsum([0, *notes.lengths])[np.searchsorted(notes.document, np.arange(notes.notes))]
        moved = [np.where(own < 0, -1, own + start) for own, start in zip(notes.places, starts.tolist(), strict=True)]
        return word_logits(tokens, np.concatenate([*moved, np.zeros(0, np.int64)]))

    def decide(self, logits: Float[np.ndarray, "words tags"], notes: TokenizedNotes) -> SpanPredictions:
        probabilities = self.config.probabilities(logits)
        cuts = np.cumsum([len(own) for own in notes.places])[:-1]
        each = np.split(probabilities, cuts) if notes.notes else []
        return self._predictions(each, notes)

    def _predictions(
        self, probabilities: Sequence[Float[np.ndarray, "_ tags"]], notes: TokenizedNotes
    ) -> SpanPredictions:
        tags = [values.argmax(axis=1) for values in probabilities]
        spans = [self.tags.decode(own, words) for own, words in zip(tags, notes.words, strict=True)]
        three = zip(spans, probabilities, notes.words, strict=True)
        return SpanPredictions(
            spans,
            [_lowest(own, values.max(axis=1), words) for own, values, words in three],
            tags,
            np.array([(own < 0).sum() for own in notes.places], dtype=np.int64),
            np.array([np.isfinite(values).all() for values in probabilities], dtype=bool),
            self._further(spans, probabilities, notes),
        )

    def _further(
        self,
        spans: Sequence[Sequence[Span]],
        probabilities: Sequence[Float[np.ndarray, "_ tags"]],
        notes: TokenizedNotes,
    ) -> PossibleSpans | None:
        each = [self.sets(values) for values in probabilities]
        sets = [own for own in each if own is not None]
        if self.conformal is None or len(sets) < len(each):
            return None
        every = list(zip(spans, sets, notes.words, strict=True))
        sure = [sure_spans(*note, self.tags) for note in every]
        further = [
            further_spans([*compress(own, known)], note, words, self.tags)
            for (own, note, words), known in zip(every, sure, strict=True)
        ]
        return PossibleSpans(sure, further, np.array([own.abstained.any() for own in sets], dtype=bool))

    def schema(self) -> dict[str, Any]:
        import polars as pl  # here: workers answer without it

        further = {"start": pl.Int64(), "end": pl.Int64(), "label": pl.String()}
        span = further | {"probability": pl.Float64()}
        if self.conformal is None:
            return {"spans": pl.List(pl.Struct(span))}
        spans = pl.List(pl.Struct(span | {"sure": pl.Boolean()}))
        return {"spans": spans, "possible": pl.List(pl.Struct(further)), "abstained": pl.Boolean()}

    def rows(self, predictions: SpanPredictions) -> list[Row]:
        found: list[Row] = [
            {"spans": [{**span._asdict(), "probability": rounded(p)} for span, p in zip(own, values, strict=True)]}
            for own, values in zip(predictions.spans, predictions.probabilities, strict=True)
        ]
        if (further := predictions.further) is not None:
            each = zip(found, further.sure, further.possible, further.abstained.tolist(), strict=True)
            for row, sure, possible, abstained in each:
                row["spans"] = [span | {"sure": known} for span, known in zip(row["spans"], sure, strict=True)]
                row |= {"possible": [span._asdict() for span in possible], "abstained": abstained}
        return found

    def predicted(self, predictions: SpanPredictions) -> Mapping[str, int]:
        counts = Counter(span.label for spans in predictions.spans for span in spans)
        return {label: counts[label] for label in self.labels}

    def totals(self, predictions: SpanPredictions) -> Mapping[str, float]:
        """See `AnswerHead.totals`: words, those in no row of the model, and the notes that have some."""
        further = predictions.further
        abstained = {} if further is None else {"notes": len(further.sure), "abstained": int(further.abstained.sum())}
        return {
            **abstained,
            "words": sum(map(len, predictions.tags)),
            "words_unread": int(predictions.unread.sum()),
            "documents_cut": int((predictions.unread > 0).sum()),
        }

    def describe(self, totals: Mapping[str, float]) -> Sequence[str]:
        lines = []
        if self.conformal is not None and totals.get("notes"):
            lines.append(
                f"abstained  on {totals['abstained'] / totals['notes']:.1%} of notes ({totals['abstained']:,} of "
                f"{totals['notes']:,}): a word has not exactly one tag at {self.conformal.coverage:.0%} coverage"
            )
        if not totals.get("words_unread"):
            return lines
        return [
            *lines,
            f"unread     {totals['words_unread']:,} of {totals['words']:,} words, in {totals['documents_cut']:,} "
            f"notes; no span is found there: the model reads {self.config.long_notes} of {self.config.max_tokens} "
            "tokens",
        ]

    def comparison(self, counts: dict[str, Any] | None) -> SpanComparison:
        return SpanComparison(self.labels, counts)


def _lowest(spans: Sequence[Span], probabilities: Float[np.ndarray, " words"], words: Words) -> list[float]:
    """Return the lowest probability of the words of every span."""
    first = np.searchsorted(words[:, 0], [span.start for span in spans])
    last = np.searchsorted(words[:, 1], [span.end for span in spans]) + 1
    return [float(probabilities[begin:end].min()) for begin, end in zip(first.tolist(), last.tolist(), strict=True)]
