"""Pruning of single weights by magnitude."""

from typing import Literal, final

from jaxtyping import Float
from torch import Tensor

from callbacks.prune.masks import MaskPruning
from callbacks.schedules.base import Schedule
from clinlm.config.ranges import check_choice
from clinlm.training.modules.base import Module


@final
class Unstructured(MaskPruning):
    """Remove the weights with the smallest absolute value.

    Source    "five strategies for symptom extraction", magnitude pruning; Han et al. 2015, "Learning both weights and
              connections", arXiv:1506.02626; gradually: Zhu & Gupta 2017, "To prune, or not to prune",
              arXiv:1710.01878, section 3.
    Names     the threshold of "five strategies" is the `threshold` of our report: the largest removed absolute value.
    Changes   linear weights of the encoder: exact zeros; shapes and the size of a dense file do not change.
    Cost      a selection over all weights at every step of the schedule, about 30 bytes per weight for that moment; a
              byte per weight while it trains.
    Departs   Han et al. set the threshold by the standard deviation of a layer; here it is a quantile, so that the
              sparsity is exact.
    Clashes   integer weights; in one stage, units must be cut before weights are masked. A later stage that trains
              without `recover` fills the zeros again, as the student of pipeline C does.

    Args:
        ratio, schedule: see `MaskPruning`.
        scope: `global`, all weights compete; `layer`, those of one linear layer do.
    """

    def __init__(self, ratio: float = 0.5, scope: Literal["global", "layer"] = "global", *, schedule: Schedule) -> None:
        check_choice("prune.scope", scope, ("global", "layer"))
        super().__init__(ratio, scope, schedule)

    def scores(self, module: Module) -> list[Float[Tensor, "outputs inputs"]]:
        return [linear.weight.detach().abs() for linear in self.linears.values()]
