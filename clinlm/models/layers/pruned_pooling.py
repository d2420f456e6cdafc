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
    def by_token(self) -> bool:
        """As that of the pooling itself."""
        return bool(self.pooling.by_token)

    def forward(
        self, hidden: Float[Tensor, "rows kept hidden"], mask: Int[Tensor, "rows tokens"]
    ) -> Float[Tensor, "rows *kept parts_x_hidden"]:
        """Return one vector per row, or per token; `mask` is 1 on the tokens that were read and 0 on padding."""
        pooled: Tensor = self.pooling(hidden, self._left(hidden, mask))
        return pooled

    def by_label(
        self,
        logits: Float[Tensor, "rows kept outputs"],
        hidden: Float[Tensor, "rows kept hidden"],
        mask: Int[Tensor, "rows tokens"],
    ) -> Float[Tensor, "rows outputs"]:
        """Return the mean of the logits of the tokens that are left, for every label with its own weights."""
        pooled: Tensor = self.pooling.by_label(logits, hidden, self._left(hidden, mask))
        return pooled

    def _left(
        self, hidden: Float[Tensor, "rows kept hidden"], mask: Int[Tensor, "rows tokens"]
    ) -> Int[Tensor, "rows kept"]:
        """Return the mask of the tokens that are left, which are the first of a row."""
        count: Tensor = kept_tokens(mask.sum(1, keepdim=True), self.percent)
        return (torch.arange(hidden.shape[1], device=mask.device) < count).to(mask.dtype)
