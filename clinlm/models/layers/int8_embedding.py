"""An embedding table with INT8 rows."""

from typing import Self, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from clinlm.models.layers.rounding import TABLES, quantize_rows


@final
class Int8Embedding(nn.Module):
    """An embedding table with INT8 rows and one scale a row: what is looked up is scaled back to float32.

    Never in training: integers have no gradient.

    Args:
        num_embeddings, embedding_dim, padding_idx: as those of `nn.Embedding`.

    Attributes:
        weight: integers in [-127, 127].
        scale: positive, one a row. A buffer: it does not count as a parameter.
    """

    weight: nn.Parameter
    scale: Tensor

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim, self.padding_idx = num_embeddings, embedding_dim, padding_idx
        self.weight = nn.Parameter(torch.zeros(num_embeddings, embedding_dim, dtype=torch.int8), requires_grad=False)
        self.register_buffer("scale", torch.ones(num_embeddings))

    @classmethod
    @torch.no_grad()
    def of(cls, table: nn.Embedding) -> Self:
        """Return `table` with its rows rounded to the nearest of 255 levels each."""
        made = cls(table.num_embeddings, table.embedding_dim, table.padding_idx)
        weight, scale = quantize_rows(table.weight, TABLES)
        made.weight.copy_(weight)
        made.scale.copy_(scale)
        return made

    def dequantized(self) -> Float[Tensor, "rows columns"]:
        """Return the table that the integers stand for."""
        return self.weight * self.scale[:, None]

    def forward(self, numbers: Int[Tensor, "*places"]) -> Float[Tensor, "*places columns"]:
        """Return the rows of these numbers, in float32."""
        return functional.embedding(numbers, self.weight) * self.scale[numbers].unsqueeze(-1)

    def extra_repr(self) -> str:
        """Torch's hook."""
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"
