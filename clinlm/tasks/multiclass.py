"""Exactly one label a document."""

from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from clinlm.metrics.classification import Thresholds
from clinlm.tasks.labelled import Labelled


@final
class MultiClass(Labelled):
    """One of the k most frequent labels per document, as in "five strategies"; other documents are dropped.

    The most probable label is predicted, without thresholds. Arguments as `Labelled`.
    """

    kind = "multiclass"

    def serves(self, targets: Bool[np.ndarray, "documents labels"]) -> tuple[Bool[np.ndarray, " documents"], str]:
        return np.asarray(targets.sum(1) == 1), f"not exactly one of the {targets.shape[1]} labels"

    def loss(self, logits: Float[Tensor, "units outputs"], targets: Tensor) -> Float[Tensor, ""]:
        """Return the cross-entropy, a mean over documents."""
        return functional.cross_entropy(logits, targets)

    def prior(self) -> Float[Tensor, " outputs"]:
        """See `Task.prior`. One imaginary document of every label keeps it finite."""
        train = torch.from_numpy(self.examples.targets[self.examples.members("train")]).float()
        return ((train.sum(0) + 1) / (len(train) + train.shape[1])).log()

    def fit_thresholds(self, probabilities: Float[np.ndarray, "units outputs"]) -> Thresholds:
        return None
