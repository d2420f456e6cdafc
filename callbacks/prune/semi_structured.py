"""Pruning to N of every M neighbouring weights: the pattern that sparse tensor cores run."""

from typing import final

from jaxtyping import Float
from torch import Tensor

from callbacks.prune.masks import MaskPruning
from callbacks.schedules.base import Schedule
from clinlm.config.errors import ConfigError
from clinlm.training.modules.base import Module


@final
class SemiStructured(MaskPruning):
    """Of every `m` consecutive inputs of an output, keep the `n` weights with the largest absolute value.

    Source    Mishra et al. 2021, "Accelerating sparse deep neural networks", arXiv:2104.08378, section 3.
    Changes   linear weights of the encoder: exact zeros; shapes and the size of a dense file do not change.
    Needs     for a gain in speed: hardware and an engine with this pattern (2:4 on NVIDIA since Ampere).
    Cost      a selection over all weights at every step of the schedule; a byte per weight while it trains.
    Departs   a gradual schedule removes whole weights, so 2:4 has two steps. Inputs left over when their number is not
              a multiple of `m` stay dense and are reported (`dense_tail`).
    Clashes   as `Unstructured`.

    Args:
        n, m: 1 <= n < m.
        schedule: see `MaskPruning`.
    """

    def __init__(self, n: int = 2, m: int = 4, *, schedule: Schedule) -> None:
        if not 1 <= n < m:
            raise ConfigError(f"prune.n and prune.m must be 1 <= n < m, got n={n}, m={m}")
        super().__init__((m - n) / m, m, schedule)

    def scores(self, module: Module) -> list[Float[Tensor, "outputs inputs"]]:
        return [linear.weight.detach().abs() for linear in self.linears.values()]
