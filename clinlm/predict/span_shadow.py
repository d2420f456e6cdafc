"""Two models that find spans in the same notes: where they agree, and whether what either finds drifts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
from jaxtyping import Int

from clinlm.predict.answers import Found
from clinlm.predict.comparison import Comparison
from clinlm.predict.drift import holm, mcnemar_p
from clinlm.predict.drift_monitor import Course
from clinlm.terminology.spans import Span

EDGES = (1, 2, 3, 4, 6, 9, 14, 22)
"""Between the bins of how many spans of a label a note has."""


@final
class SpanShadow(Comparison[Found]):
    """Counts of the spans that two models found in notes.

    Spans agree that have the same start, end and label. `agreement` of a label, and `spans` of all of them, is the
    share of equal ones: twice those that both found, of all that either found (the F1 of one model against the other);
    1 where neither found any. `rate` is spans a note.

    That both find as many of a label in a note is tested by the sign test, over notes: words or spans of one note are
    not independent of each other. The same goes for drift, which is found in histograms of notes by their number of
    spans.

    Args:
        labels: of the spans.
        counts: what another `SpanShadow` counted, to go on from; None to begin.
    """

    headings = ("a note", "of shadow", "equal spans", "only artifact", "only shadow", "p (sign test, Holm)")

    def __init__(self, labels: tuple[str, ...], counts: dict[str, Any] | None) -> None:
        self.labels = labels
        self._course = Course(labels, counts)
        if counts is None:
            counts = dict.fromkeys(("documents", "alike", "words", "words_alike"), 0)
            names = ("both", "only_artifact", "only_shadow", "more", "fewer")
            counts |= {name: [0] * len(labels) for name in names}
        self._counts = counts

    def counts(self) -> dict[str, Any]:
        """See `Comparison.counts`."""
        return {**self._counts, **self._course.counts()}

    def add(self, artifact: Found, shadow: Found) -> None:
        """See `Comparison.add`."""
        documents = len(artifact.spans)
        if not documents:
            return
        had, pairs = self._counts, list(zip(artifact.spans, shadow.spans, strict=True))
        ours, theirs = (self._table(one.spans) for one in (artifact, shadow))
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
            "documents": had["documents"] + documents,
            "alike": had["alike"] + sum(set(a) == set(b) for a, b in pairs),
            "words": had["words"] + sum(len(a) for a, _ in tags),
            "words_alike": had["words_alike"] + sum(int((a == b).sum()) for a, b in tags),
            **{name: (np.array(had[name]) + value).tolist() for name, value in new.items()},
        }
        histograms = np.stack([_histogram(one) for one in (ours, theirs)])
        self._course.add(documents, histograms, np.stack([ours.sum(axis=0), theirs.sum(axis=0)]))

    def summary(self) -> dict[str, Any]:
        """See `Comparison.summary`."""
        counts, documents = self._counts, max(1, self._counts["documents"])
        labels = {label: self._label(place, documents) for place, label in enumerate(self.labels)}
        for at, p in zip(labels.values(), holm([one["sign_p"] for one in labels.values()]), strict=True):
            at["sign_p_corrected"] = p
        return {
            "documents": counts["documents"],
            "agreement": {
                "documents": counts["alike"] / documents,
                "words": counts["words_alike"] / max(1, counts["words"]),
                "spans": _share(*(sum(counts[name]) for name in ("both", "only_artifact", "only_shadow"))),
            },
            "labels": labels,
            "drift": self._course.drift(),
            "periods": self._course.periods(),
        }

    def headline(self, agreement: Mapping[str, float]) -> str:
        """See `Comparison.headline`."""
        return (
            f"{agreement['spans']:.2%} of spans, {agreement['words']:.2%} of words; {agreement['documents']:.2%} of "
            "documents in all spans"
        )

    def cells(self, label: Mapping[str, float]) -> list[str]:
        """See `Comparison.cells`."""
        rates = [f"{label[name]:.3f}" for name in ("rate", "shadow_rate")]
        only = [f"{label[name]:,}" for name in ("only_artifact", "only_shadow")]
        return [*rates, f"{label['agreement']:.2%}", *only, f"{label['sign_p_corrected']:.3g}"]

    def _table(self, spans: Sequence[Sequence[Span] | set[Span]]) -> Int[np.ndarray, "documents labels"]:
        """Count the spans of every note by label."""
        counts = [Counter(one.label for one in own) for own in spans]
        return np.array([[own[label] for label in self.labels] for own in counts], dtype=np.int64)

    def _label(self, place: int, documents: int) -> dict[str, float]:
        counts = self._counts
        both, ours, theirs = (counts[name][place] for name in ("both", "only_artifact", "only_shadow"))
        told = {
            "agreement": _share(both, ours, theirs),
            "rate": (both + ours) / documents,
            "shadow_rate": (both + theirs) / documents,
            "only_artifact": ours,
            "only_shadow": theirs,
            "sign_p": mcnemar_p(counts["more"][place], counts["fewer"][place]),
        }
        between = self._course.between(place)
        return told if between is None else {**told, "stability_between_models": between}


def _share(both: int, ours: int, theirs: int) -> float:
    either = 2 * both + ours + theirs
    return 2 * both / either if either else 1.0


def _histogram(table: Int[np.ndarray, "documents labels"]) -> Int[np.ndarray, "labels bins"]:
    bins, width = np.digitize(table, EDGES), len(EDGES) + 1
    counts: Int[np.ndarray, "labels bins"] = np.stack([(bins == place).sum(axis=0) for place in range(width)], axis=1)
    return counts
