"""Any number of labels a document."""

from collections.abc import Callable, Sequence
from typing import Literal, final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from clinlm.config.errors import ConfigError
from clinlm.corpora.base import Corpus
from clinlm.metrics.classification import Thresholds, fit_thresholds
from clinlm.tasks.base import Calibrate
from clinlm.tasks.labelled import Labelled
from clinlm.text.long_notes import LongNotes


@final
class MultiLabel(Labelled):
    """Any number of the k most frequent labels a document (Smart GRIFFIN).

    Args:
        corpus, root, long_notes, labels, documents, max_tokens, shares, training_documents, seed, calibrate: see
            `Labelled`.
        thresholds: `global`, one for all labels, or `per_label`; fitted on validation, never on test.
        unlabelled: documents with none of the k labels: `drop` (Smart GRIFFIN), or `keep`, where predicting no label
            is part of the task.

    Raises:
        ConfigError: as `Labelled`; or `documents` with `unlabelled=keep`, as balancing needs labels.
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
        unlabelled: Literal["drop", "keep"] = "drop",
        seed: int = 0,
        calibrate: Calibrate = "none",
    ) -> None:
        super().__init__(
            corpus, root, long_notes, labels, documents, max_tokens, shares, training_documents, seed, calibrate
        )
        if unlabelled not in ("drop", "keep"):
            raise ConfigError(f"task.unlabelled must be drop or keep, got {unlabelled!r}")
        if unlabelled == "keep" and documents is not None:
            raise ConfigError(
                f"task.documents must be null with unlabelled=keep, as it balances labels, got {documents}; set one of "
                "them to its default"
            )
        self.thresholds, self.unlabelled = thresholds, unlabelled

    def serves(self, targets: Bool[np.ndarray, "documents labels"]) -> tuple[Bool[np.ndarray, " documents"], str]:
        kept = targets.any(1) if self.unlabelled == "drop" else np.ones(len(targets), dtype=bool)
        return np.asarray(kept), f"none of the {targets.shape[1]} labels kept"

    def loss(self, logits: Float[Tensor, "units outputs"], targets: Tensor) -> Float[Tensor, ""]:
        """Return the binary cross-entropy, a mean over documents and labels."""
        return functional.binary_cross_entropy_with_logits(logits, targets)

    def prior(self) -> Float[Tensor, " outputs"]:
        """See `Task.prior`. One imaginary document with and one without every label keep it finite."""
        train = torch.from_numpy(self.examples.targets[self.examples.members("train")]).float()
        return torch.logit((train.sum(0) + 1) / (len(train) + 2))

    def fit_thresholds(self, probabilities: Float[np.ndarray, "units outputs"]) -> Thresholds:
        targets = self.examples.targets[self.examples.members("validation")]
        return fit_thresholds(targets, probabilities, self.thresholds)
