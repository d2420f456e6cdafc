"""Any number of labels a document."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Literal, final

import numpy as np
from jaxtyping import Bool, Float

from clinlm.config.errors import ConfigError
from clinlm.corpora.base import Corpus
from clinlm.metrics.classification import fit_thresholds
from clinlm.metrics.decisions import Thresholds
from clinlm.tasks.base import Calibrate
from clinlm.tasks.labelled import Labelled, checked_weights, label_weights
from clinlm.text.group_floor import MIN_GROUPS
from clinlm.text.long_notes import LongNotes


@final
class MultiLabel(Labelled):
    """Any number of the k most frequent labels a document (Smart GRIFFIN).

    Args:
        corpus, root, long_notes, labels, documents, max_tokens, shares, training_documents, seed, calibrate,
            min_groups: see `Labelled`.
        thresholds: `global`, one for all labels, or `per_label`; fitted on validation, never on test.
        unlabelled: documents with none of the k labels: `keep`, as negatives of all, or `drop` (Smart GRIFFIN). None
            drops them, unless there is one label only, which cannot be learned without them.
        pos_weight: weight of the documents that have a label in its loss; one number a label, in the order of
            `examples.labels`. `balanced`: documents without it over documents with it, in training. None: 1.

    Raises:
        ConfigError: as `Labelled`; or one label with `unlabelled=drop`; or a `pos_weight` that does not fit.
    """

    kind = "multilabel"

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
        thresholds: Literal["global", "per_label"] = "global",
        unlabelled: Literal["drop", "keep"] | None = None,
        pos_weight: Literal["balanced"] | Sequence[float] | None = None,
        seed: int = 0,
        calibrate: Calibrate = "none",
        min_groups: int = MIN_GROUPS,
    ) -> None:
        super().__init__(
            corpus,
            root,
            long_notes,
            labels,
            documents,
            max_tokens,
            shares,
            training_documents,
            seed,
            calibrate,
            min_groups,
        )
        if unlabelled not in ("drop", "keep", None):
            raise ConfigError(f"task.unlabelled must be drop, keep or null, got {unlabelled!r}")
        if thresholds not in ("global", "per_label"):
            raise ConfigError(f"task.thresholds must be global or per_label, got {thresholds!r}")
        self.thresholds, self.unlabelled = thresholds, unlabelled
        self.pos_weight = checked_weights(pos_weight, "pos_weight")

    def serves(self, targets: Bool[np.ndarray, "documents labels"]) -> tuple[Bool[np.ndarray, " documents"], str]:
        if targets.shape[1] == 1 and self.unlabelled == "drop":
            raise ConfigError(
                "one label needs notes without it, got task.unlabelled=drop; set keep, or null (which keeps them then)"
            )
        kept = self.unlabelled == "keep" or targets.shape[1] == 1
        return np.asarray(targets.any(1) | kept), f"none of the {targets.shape[1]} labels kept"

    def loss(self, logits: Float[Any, "units outputs"], targets: Any) -> Float[Any, ""]:
        """Return the binary cross-entropy, a mean over documents and labels, weighted by `pos_weight`."""
        from torch.nn import functional

        weight = None if self.weights is None else self.weights.to(logits)
        return functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=weight)

    @cached_property
    def weights(self) -> Float[Any, " outputs"] | None:
        """The `pos_weight` of every label; None for 1."""
        train = self.examples.targets[self.examples.members("train")]
        return label_weights(self.pos_weight, (~train).sum(0) / np.maximum(train.sum(0), 1), "pos_weight")

    def prior(self) -> Float[Any, " outputs"]:
        """See `Task.prior`. One imaginary document with and one without every label keep it finite."""
        import torch

        train = torch.from_numpy(self.examples.targets[self.examples.members("train")]).float()
        logits = torch.logit((train.sum(0) + 1) / (len(train) + 2))
        return logits if self.weights is None else logits + self.weights.log()

    def fit_thresholds(self, probabilities: Float[np.ndarray, "units outputs"]) -> Thresholds:
        targets = self.examples.targets[self.examples.members("validation")]
        return fit_thresholds(targets, probabilities, self.thresholds)
