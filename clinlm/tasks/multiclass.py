"""Exactly one label a document."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Literal, final

import numpy as np
from jaxtyping import Bool, Float

from clinlm.corpora.base import Corpus
from clinlm.metrics.decisions import Thresholds
from clinlm.tasks.base import Calibrate
from clinlm.tasks.labelled import Labelled, checked_weights, label_weights
from clinlm.text.group_floor import MIN_GROUPS
from clinlm.text.long_notes import LongNotes


@final
class MultiClass(Labelled):
    """One of the k most frequent labels per document, as in "five strategies"; other documents are dropped.

    The most probable label is predicted, without thresholds.

    Args:
        corpus, root, long_notes, labels, documents, max_tokens, shares, training_documents, seed, calibrate,
            min_groups: see `Labelled`.
        class_weight: weight of the documents of a label in the loss; one number a label, in the order of
            `examples.labels`. `balanced`: training documents over labels times documents of the label. None: 1.

    Raises:
        ConfigError: as `Labelled`; or a `class_weight` that does not fit.
    """

    kind = "multiclass"

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
        class_weight: Literal["balanced"] | Sequence[float] | None = None,
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
        self.class_weight = checked_weights(class_weight, "class_weight")

    def serves(self, targets: Bool[np.ndarray, "documents labels"]) -> tuple[Bool[np.ndarray, " documents"], str]:
        return np.asarray(targets.sum(1) == 1), f"not exactly one of the {targets.shape[1]} labels"

    def loss(self, logits: Float[Any, "units outputs"], targets: Any) -> Float[Any, ""]:
        """Return the cross-entropy, a mean over documents, weighted by `class_weight`."""
        from torch.nn import functional

        return functional.cross_entropy(logits, targets, None if self.weights is None else self.weights.to(logits))

    @cached_property
    def weights(self) -> Float[Any, " outputs"] | None:
        """The `class_weight` of every label; None for 1."""
        counts = self.examples.targets[self.examples.members("train")].sum(0)
        return label_weights(self.class_weight, counts.sum() / (len(counts) * np.maximum(counts, 1)), "class_weight")

    def prior(self) -> Float[Any, " outputs"]:
        """See `Task.prior`. One imaginary document of every label keeps it finite."""
        import torch

        train = torch.from_numpy(self.examples.targets[self.examples.members("train")]).float()
        logits = ((train.sum(0) + 1) / (len(train) + train.shape[1])).log()
        return logits if self.weights is None else torch.log_softmax(logits + self.weights.log(), 0)

    def fit_thresholds(self, probabilities: Float[np.ndarray, "units outputs"]) -> Thresholds:
        return None
