"""Vector-based random matrix adaptation."""

from collections.abc import Mapping, Sequence
from typing import Any, final

from peft import PeftConfig, VeraConfig, VeraModel
from torch import Tensor, nn

from clinlm.config.ranges import check_at_least, check_interval
from clinlm.models.adapters.low_rank import ATTENTION, add_masked_update
from clinlm.models.adapters.tuner import ADAPTER, Tuner


@final
class Vera(Tuner):
    """Low-rank updates from two random matrices that all layers share; only two vectors per layer learn.

    Source: Kopiczko et al. 2024, "VeRA", arXiv:2310.11454; computed by peft.

    Args:
        r: rank of the random matrices, at least 1: larger than LoRA's, as it costs one number each.
        dropout: before the update, in [0, 1).
        start: first value of the vector between the two matrices.
        seed: of the random matrices.
        targets: see `Tuner`.
        learning_rate_factor: see `Adapter`; the paper's rates are about ten times those of LoRA.

    Raises:
        ConfigError: see `Tuner`.
    """

    kind = VeraModel

    def __init__(
        self,
        r: int = 256,
        dropout: float = 0.0,
        start: float = 0.1,
        seed: int = 0,
        targets: Sequence[str] = ATTENTION,
        learning_rate_factor: float = 20.0,
    ) -> None:
        super().__init__(targets, learning_rate_factor)
        check_at_least("adapter.r", r, 1)
        check_interval("adapter.dropout", dropout, "[0, 1)")
        self.r, self.dropout, self.start, self.seed = r, dropout, start, seed

    def config(self, names: Mapping[str, Sequence[str]]) -> PeftConfig:
        return VeraConfig(
            r=self.r,
            vera_dropout=self.dropout,
            d_initial=self.start,
            projection_prng_key=self.seed,
            target_modules=[name for matches in names.values() for name in matches],
        )

    def masked(self, layer: Any, masks: Sequence[nn.Module], inputs: Tensor) -> Tensor:
        return add_masked_update(layer, masks, inputs, layer.vera_dropout[ADAPTER])
