"""Pruning of single weights below a threshold."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from callbacks.prune.masks import MaskPruning
from callbacks.schedules.base import Schedule
from clinlm.config.errors import ConfigError
from clinlm.config.ranges import check_interval
from clinlm.models.model import Model
from clinlm.training.modules.base import Module


@final
class Threshold(MaskPruning):
    """Remove the weights whose absolute value is at most a threshold.

    Source    "five strategies for symptom extraction", section III.D: W where |W| > tau, else 0.
    Names     its tau is our `threshold`; it prints none, and says that the share of the weights was tuned.
    Changes   linear weights of the encoder: exact zeros; shapes and the size of a dense file do not change.
    Cost      as `Unstructured`.
    Departs   a gradual schedule removes the same share of the weights step by step, lowest first.
    Clashes   as `Unstructured`.

    Args:
        threshold: positive; the share of the weights that it removes is the `ratio` of `MaskPruning`.
        schedule: see `MaskPruning`.

    Raises:
        ConfigError: `threshold` is not positive or not finite; (in `prepare`) it removes no weight, or all.
    """

    def __init__(self, threshold: float = 0.02, *, schedule: Schedule) -> None:
        check_interval("prune.threshold", threshold, "(0, inf)")
        super().__init__(0.5, "global", schedule)  # until the weights are seen
        self.threshold = threshold

    def _find_linears(self, model: Model) -> None:
        super()._find_linears(model)
        weights = [linear.weight.detach() for linear in self.linears.values()]
        if any(weight.is_meta for weight in weights):  # shapes alone have no values
            return
        below = sum(int((weight.abs() <= self.threshold).sum()) for weight in weights)
        total = sum(weight.numel() for weight in weights)
        if below in (0, total):
            largest = max(float(weight.abs().max()) for weight in weights)
            raise ConfigError(
                f"prune.threshold must be between the smallest weight and the largest, {largest:.3g}; "
                f"{self.threshold:g} removes {'no weight' if below == 0 else 'every weight'}"
            )
        self.ratio = below / total

    @torch.no_grad()
    def scores(self, module: Module) -> list[Float[Tensor, "outputs inputs"]]:
        return [linear.weight.abs() for linear in self.linears.values()]
