"""Comparison of two models that find spans in the same notes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
from jaxtyping import Int

from clinlm.predict.comparison import Comparison
from clinlm.predict.drift import histogram, mcnemar_p
from clinlm.predict.predictions import SpanPredictions
from clinlm.terminology.spans import Span

SPAN_EDGES = (1, 2, 3, 4, 6, 9, 14, 22)
"""Edges between the bins of the number of spans of a label in a note."""


@final
class SpanComparison(Comparison[SpanPredictions]):
    """AnswerCounts of the spans that two models find.

    Spans agree if they have the same start, end and label. `agreement` of a label, and `spans` over all labels, is the
    share of equal ones: twice those that both found, of all that either found (the F1 of one model against the other);
    1 where neither found any. `rate` is spans per note.

    Whether both find as many of a label per note is tested by the sign test over notes, since words or spans of one
    note depend on each other. For the same reason drift is found in histograms of notes by their number of spans.
    """

    headings = ("per note", "of shadow", "equal spans", "only artifact", "only shadow", "p (sign test, Holm)")
    test = "sign_p"

    def zeros(self) -> dict[str, Any]:
        by_label = ("both", "only_artifact", "only_shadow", "more", "fewer")
        counts: dict[str, Any] = dict.fromkeys(("documents", "alike", "words", "words_alike"), 0)
        return counts | {name: [0] * len(self.labels) for name in by_label}

    def add(self, artifact: SpanPredictions, shadow: SpanPredictions) -> None:
        documents = len(artifact.spans)
        if not documents:
            return
        old, pairs = self._counts, list(zip(artifact.spans, shadow.spans, strict=True))
        ours, theirs = (self._table(model.spans) for model in (artifact, shadow))
        both = self._table([set(a) & set(b) for a, b in pairs])
        tags = list(zip(artifact.tags, shadow.tags, strict=True))
        new = {
            "both": both.sum(axis=0),
            "only_artifact": (ours - both).sum(axis=0),
            "only_shadow": (theirs - both).sum(axis=0),
            "more": (ours > theirs).sum(axis=0),
            "fewer": (ours < theirs).sum(axis=0),
        }
        self._counts = {
            "documents": old["documents"] + documents,
            "alike": old["alike"] + sum(set(a) == set(b) for a, b in pairs),
            "words": old["words"] + sum(len(a) for a, _ in tags),
            "words_alike": old["words_alike"] + sum(int((a == b).sum()) for a, b in tags),
            **{name: (np.array(old[name]) + value).tolist() for name, value in new.items()},
        }
        histograms = np.stack([histogram(table, SPAN_EDGES) for table in (ours, theirs)])
        self._monitor.add(documents, histograms, np.stack([ours.sum(axis=0), theirs.sum(axis=0)]))

    def headline(self, agreement: Mapping[str, float]) -> str:
        return (
            f"{agreement['spans']:.2%} of spans, {agreement['words']:.2%} of words; {agreement['documents']:.2%} of "
            "documents in all spans"
        )

    def cells(self, label: Mapping[str, float]) -> list[str]:
        rates = [f"{label[name]:.3f}" for name in ("rate", "shadow_rate")]
        only = [f"{label[name]:,}" for name in ("only_artifact", "only_shadow")]
        return [*rates, f"{label['agreement']:.2%}", *only, f"{label['sign_p_corrected']:.3g}"]

    def _agreement(self, documents: int) -> dict[str, float]:
        counts = self._counts
        return {
            "documents": counts["alike"] / documents,
            "words": counts["words_alike"] / max(1, counts["words"]),
            "spans": _equal_share(*(sum(counts[name]) for name in ("both", "only_artifact", "only_shadow"))),
        }

    def _compare_label(self, place: int, documents: int) -> dict[str, float]:
        counts = self._counts
        both, ours, theirs = (counts[name][place] for name in ("both", "only_artifact", "only_shadow"))
        return {
            "agreement": _equal_share(both, ours, theirs),
            "rate": (both + ours) / documents,
            "shadow_rate": (both + theirs) / documents,
            "only_artifact": ours,
            "only_shadow": theirs,
            "sign_p": mcnemar_p(counts["more"][place], counts["fewer"][place]),
        }

    def _table(self, spans: Sequence[Sequence[Span] | set[Span]]) -> Int[np.ndarray, "documents labels"]:
        """Return the number of spans of every note by label."""
        counts = [Counter(span.label for span in note) for note in spans]
        return np.array([[note[label] for label in self.labels] for note in counts], dtype=np.int64)


def _equal_share(both: int, ours: int, theirs: int) -> float:
    either = 2 * both + ours + theirs
    return 2 * both / either if either else 1.0
