"""Base of tasks on document labels: the k most frequent labels, usable documents, and a split by group."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal, final

import numpy as np
import polars as pl
from jaxtyping import Bool, Float

from clinlm.config.errors import ConfigError
from clinlm.corpora.base import Corpus, Records, count_notice, count_notices
from clinlm.corpora.repeats import Repeats, can_merge, straddling_notices, tie_repeats
from clinlm.corpora.split import SPLITS, draw_groups, even_subset, imbalance, split_documents
from clinlm.files.columns import shown
from clinlm.metrics.decisions import Probabilities, Thresholds
from clinlm.metrics.evaluation import LabelEvaluation
from clinlm.tasks.base import Calibrate, Task, dropped_notice
from clinlm.tasks.examples import Examples
from clinlm.text.group_floor import MIN_GROUPS
from clinlm.text.long_notes import LongNotes

_SHOWN = 20
"""Most labels that a notice names: MIMIC-III has more than a thousand codes."""


class Labelled(Task):
    """A task on the k most frequent labels of a corpus. Subclasses are final and define which documents are used.

    `documents` are chosen so that labels are balanced (`clinlm.corpora.split.even_subset`); groups never straddle a
    split (`clinlm.corpora.split.split_groups`).

    Args:
        corpus, root, long_notes, max_tokens, seed, calibrate, min_groups: see `Task`.
        labels: number of most frequent labels; ties go to the name that sorts first. None for all.
        documents: number of documents to choose; None for all, and all if there are fewer.
        shares: of training, validation and test; summing to 1. A split defined by the corpus takes precedence.
        training_documents: least number of training documents to keep, whole groups drawn at random; None for all.
            Validation and test stay the same, so that learning curves share them.

    Raises:
        ConfigError: `labels` below 1, or (on opening) no label in the corpus or no document left.
    """

    def __init__(
        self,
        corpus: Callable[..., Corpus],
        root: str | None,
        long_notes: LongNotes,
        labels: int | None = 20,
        documents: int | None = None,
        max_tokens: int = 256,
        shares: Sequence[float] = (0.7, 0.1, 0.2),
        training_documents: int | None = None,
        seed: int = 0,
        calibrate: Calibrate = "none",
        min_groups: int = MIN_GROUPS,
    ) -> None:
        super().__init__(corpus, root, long_notes, max_tokens, seed, calibrate, min_groups)
        if labels is not None and (type(labels) is not int or labels < 1):
            raise ConfigError(
                f"task.labels must be a number of labels >= 1, or null for all, got {labels!r}; name labels of a table "
                "in task.corpus.include"
            )
        if training_documents is not None and training_documents < 1:
            raise ConfigError(f"task.training_documents must be at least 1, or null for all, got {training_documents}")
        self.labels, self.documents, self.training_documents = labels, documents, training_documents
        self.shares = tuple(shares)

    @abstractmethod
    def serves(self, targets: Bool[np.ndarray, "documents labels"]) -> tuple[Bool[np.ndarray, " documents"], str]:
        """Return which documents are used, and why the others are not ("none of the 20 labels kept")."""

    @final
    def evaluate(self, split: str, probabilities: Probabilities, thresholds: Thresholds) -> LabelEvaluation:
        targets = self.examples.targets[self.examples.members(split)]
        kind: Any = self.kind
        return LabelEvaluation(targets, probabilities, thresholds, self.examples.labels, kind)

    known: tuple[str, ...] | None = None
    """Labels of another task, whose models are tested on all documents of this one; None chooses labels, and splits."""

    @final
    def choose(self) -> Examples:
        records = self.corpus.records()
        return self.chosen(records) if self.known is None else self._tested(records, self.known)

    @final
    def chosen(self, records: Records) -> Examples:
        """Choose among `records`, and split: as they define, or else by `shares`."""
        frame, notices = records.frame, list(records.notices)
        names = self._most_frequent(frame)
        targets = _multi_hot(frame["labels"].to_list(), names)
        kept, why = self.serves(targets)
        notices += dropped_notice(int((~kept).sum()), len(frame), why)
        frame, targets = frame.filter(kept), targets[kept]
        if not len(frame):
            raise ConfigError(f"a task needs documents; all {len(kept):,} of the corpus were dropped: {why}")
        if len(names) == 1 and targets.all():
            raise ConfigError(
                f"a label must be absent from some note, got {names[0]!r} on all {len(frame):,}; add notes without it"
            )
        unlabelled = int((~targets.any(1)).sum())
        which = f"none of the {len(names)} labels: negatives of all" if len(names) > 1 else f"not {names[0]}: negatives"
        notices += count_notice(unlabelled, len(frame), f"notes have {which}")
        facts: dict[str, Any] = {
            "documents_with_a_label": int(targets.any(1).sum()),
            "imbalance_before": _finite(imbalance(targets)),
        }
        if self.documents is not None and len(frame) > self.documents:
            none = ~targets.any(1, keepdims=True)  # documents without a label count as a label of their own
            chosen = even_subset(np.hstack([targets, none]) if none.any() else targets, self.documents, self.seed)
            frame, targets = frame[chosen], targets[chosen]
        elif self.documents is not None and len(frame) < self.documents:
            notices.append(f"{self.documents:,} documents requested, all {len(frame):,} of the corpus used")
        fixed = records.splits is not None
        frame, repeats, tied = tie_repeats(frame, self.corpus.near_duplicates, fixed)
        split, drawn = split_documents(frame["group"].to_list(), targets, self.shares, self.seed, records.splits)
        straddling = straddling_notices(repeats, split, can_merge(self.corpus, fixed))
        notices += [*tied, *drawn, *straddling, *_contradictions(repeats, targets)]
        if self.training_documents is not None:
            notices += _short_of(self.training_documents, int((split == 0).sum()))
            kept = (split != 0) | draw_groups(frame["group"].to_list(), split == 0, self.training_documents, self.seed)
            frame, targets, split = frame.filter(kept), targets[kept], split[kept]
        notices += _absent(targets, split, names)
        facts |= {
            "documents": len(frame),
            "groups": frame["group"].n_unique(),
            "imbalance": _finite(imbalance(targets)),
        }
        facts |= {name: int((split == number).sum()) for number, name in enumerate(SPLITS)}
        chosen_frame = frame.drop("labels").with_columns(pl.Series("split", np.array(SPLITS)[split]))
        found = Examples(chosen_frame, targets, tuple(names), tuple(notices), facts)
        return found.drawn() if records.splits is None else found

    def _tested(self, records: Records, names: Sequence[str]) -> Examples:
        """Take all documents of the kind that models were trained on, with the labels that they know."""
        frame, counts = records.frame, Counter(records.frame["labels"].explode().drop_nulls().to_list())
        unknown = {name: count for name, count in counts.items() if name not in names}
        absent = [name for name in names if name not in counts]
        if len(absent) == len(names):
            raise ConfigError(
                f"an external corpus must have a label of the task, {_listed(names)}, got {shown(list(unknown))}; set "
                "external.corpus.labels, or rename its labels"
            )
        targets = _multi_hot(frame["labels"].to_list(), names)
        kept, why = self.serves(targets)
        notices = [*records.notices, *dropped_notice(int((~kept).sum()), len(frame), why)]
        if unknown:
            total = sum(unknown.values())
            notices.append(f"{len(unknown):,} labels unknown to the task ({total:,} times): {shown(list(unknown))}")
        if absent:
            notices.append(f"{len(absent):,} of {len(names):,} labels do not occur: {_listed(absent)}; their F1 is 0")
        facts = {"documents": int(kept.sum())}
        chosen = frame.filter(kept).drop("labels").with_columns(pl.lit("test").alias("split"))
        return Examples(chosen, targets[kept], tuple(names), tuple(notices), facts)

    def _most_frequent(self, frame: pl.DataFrame) -> list[str]:
        counts = Counter(label for labels in frame["labels"].to_list() for label in set(labels))
        if not counts:
            raise ConfigError("a task on labels needs labels; no record of the corpus has one; check task.corpus")
        ranked = sorted(counts, key=lambda name: (-counts[name], name))
        return ranked[: self.labels]


def _multi_hot(labels: Sequence[Sequence[str]], names: Sequence[str]) -> Bool[np.ndarray, "documents labels"]:
    column = {name: number for number, name in enumerate(names)}
    targets = np.zeros((len(labels), len(names)), dtype=bool)
    for row, own in enumerate(labels):
        for name in own:
            if name in column:
                targets[row, column[name]] = True
    return targets


def checked_weights(
    weights: Literal["balanced"] | Sequence[float] | None, name: str
) -> Literal["balanced"] | tuple[float, ...] | None:
    """Return the setting `name` of weights of labels.

    Raises:
        ConfigError: it is neither balanced nor a list of numbers > 0.
    """
    if weights is None or weights == "balanced":
        return weights
    if isinstance(weights, str) or not all(isinstance(each, int | float) and each > 0 for each in weights):
        raise ConfigError(f"task.{name} must be balanced, null or a list of numbers > 0, got {weights!r}")
    return tuple(weights)


def label_weights(
    weights: Literal["balanced"] | Sequence[float] | None, balanced: Float[np.ndarray, " labels"], name: str
) -> Float[Any, " labels"] | None:
    """Return one weight a label, as a tensor, or None; see `checked_weights`.

    Args:
        balanced: what `balanced` means.

    Raises:
        ConfigError: the number of weights is not that of labels.
    """
    import torch

    if weights is None:
        return None
    values = balanced if weights == "balanced" else np.asarray(weights, dtype=np.float64)
    if len(values) != len(balanced):
        raise ConfigError(
            f"task.{name} must have a number for each of {len(balanced)} labels, got {len(values)}; add them"
        )
    return torch.from_numpy(np.where(values > 0, values, 1.0)).float()


def _contradictions(repeats: Repeats, targets: Bool[np.ndarray, "documents labels"]) -> list[str]:
    """Count the texts that stand several times with different labels: no model can be right on all."""
    sets = np.unique(targets, axis=0, return_inverse=True)[1].reshape(-1)
    differ = repeats.across(repeats.equal, sets)
    return count_notices([(len(np.unique(repeats.equal[differ])), "texts stand several times, with different labels")])


def _short_of(wanted: int, there: int) -> list[str]:
    if there >= wanted:
        return []
    return [f"{wanted:,} training documents requested, all {there:,} of the split used"]


def _absent(targets: Bool[np.ndarray, "documents labels"], split: Any, names: Sequence[str]) -> list[str]:
    """Name the labels that some split lacks: they cannot be learned, or not be measured."""
    notices = []
    for number, where in enumerate(SPLITS):
        lacking = [name for name, there in zip(names, targets[split == number].any(0), strict=True) if not there]
        if lacking:
            notices.append(f"{len(lacking):,} of {len(names):,} labels do not occur in {where}: {_listed(lacking)}")
    return notices


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else "")


def _finite(ratio: float) -> float | None:
    """Return None for an infinite ratio (a label without documents), which JSON cannot hold."""
    return ratio if np.isfinite(ratio) else None
