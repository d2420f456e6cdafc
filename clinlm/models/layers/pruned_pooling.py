"""Pooling of the tokens that an encoder left."""

from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clinlm.models.layers.token_pruning_encoder import kept_tokens


@final
class PrunedPooling(nn.Module):
    """Pooling after a `TokenPruningEncoder`, whose rows are shorter than their mask.

    Args:
        pooling: of one vector per row.
        percent: of a row's tokens that leave the last layer, in [1, 100].
    """

    def __init__(self, pooling: Any, percent: int) -> None:
        super().__init__()
        self.pooling, self.percent = pooling, percent

    @property
    def name(self) -> str:
        """As that of the pooling itself."""
        return str(self.pooling.name)

    @property
    def score(self) -> nn.Linear | None:
        """As that of the pooling itself."""
        found: nn.Linear | None = self.pooling.score
        return found

    def forward(
        self, hidden: Float[Tensor, "rows kept hidden"], mask: Int[Tensor, "rows tokens"]
    ) -> Float[Tensor, "rows parts_x_hidden"]:
        """Return one vector per row; `mask` is 1 on the tokens that were read and 0 on padding."""
        left = kept_tokens(mask.sum(1, keepdim=True), self.percent)
        stay = (torch.arange(hidden.shape[1], device=mask.device) < left).to(mask.dtype)
        pooled: Tensor = self.pooling(hidden, stay)
        return pooled
