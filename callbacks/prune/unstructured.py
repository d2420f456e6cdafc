"""Single weights by magnitude."""

from typing import Literal, final

from jaxtyping import Float
from torch import Tensor

from callbacks.prune.masks import MaskPruning
from callbacks.prune.settings import check_scope
from callbacks.schedules.base import Schedule
from clinlm.training.modules.base import Module


@final
class Unstructured(MaskPruning):
    """Remove the weights of the smallest absolute value.

    Source    S1, magnitude pruning; Han et al. 2015, "Learning both weights and connections", arXiv:1506.02626;
              gradually: Zhu & Gupta 2017, "To prune, or not to prune", arXiv:1710.01878, section 3.
    Names     S1's threshold is the `threshold` of our report: the largest absolute value removed.
    Changes   linear weights of the encoder: exact zeros; shapes stay, and so does the size of a dense file.
    Cost      a selection over all weights for every stair of the schedule, some 30 bytes a weight for that moment;
              a byte a weight while it trains.
    Departs   Han et al. set the threshold by the standard deviation of a layer; here it is a quantile, which makes the
              sparsity exact.
    Clashes   after INT8 there are no float weights to mask; in one stage, units are cut before weights are masked.
              A later stage that trains without `recover` fills the zeros again, as the student of pipeline C does.

    Args:
        ratio, schedule: see `MaskPruning`.
        scope: `global`, all weights compete; `layer`, those of one linear do.
    """

    def __init__(self, ratio: float = 0.5, scope: Literal["global", "layer"] = "global", *, schedule: Schedule) -> None:
        check_scope(scope)
        super().__init__(ratio, scope, schedule)

    def scores(self, module: Module) -> list[Float[Tensor, "outputs inputs"]]:
        """See `MaskPruning.scores`."""
        return [linear.weight.detach().abs() for linear in self.linears.values()]
