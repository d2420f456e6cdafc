"""An embedding table with INT8 rows."""

from typing import Self, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from clinlm.models.layers.base import IntegerLayer
from clinlm.models.layers.rounding import TABLES, quantize_rows


@final
class Int8Embedding(IntegerLayer):
    """An embedding table with INT8 rows and one scale per row: rows are scaled back to float32 after the lookup.

    Args:
        num_embeddings, embedding_dim, padding_idx: see `nn.Embedding`.

    Attributes:
        weight: integers in [-127, 127].
        scale: positive, one per row.
    """

    replaces = nn.Embedding
    exact = True

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim, self.padding_idx = num_embeddings, embedding_dim, padding_idx
        self.weight = nn.Parameter(torch.zeros(num_embeddings, embedding_dim, dtype=torch.int8), requires_grad=False)
        self.register_buffer("scale", torch.ones(num_embeddings))

    @classmethod
    @torch.no_grad()
    def from_float(cls, table: nn.Embedding) -> Self:
        """Return `table` with each row rounded to 255 levels."""
        made = cls(table.num_embeddings, table.embedding_dim, table.padding_idx)
        weight, scale = quantize_rows(table.weight, TABLES)
        made.weight.copy_(weight)
        made.scale.copy_(scale)
        return made

    def dequantized(self) -> Float[Tensor, "rows columns"]:
        return self.weight * self.scale[:, None]

    def matrix(self) -> None:
        """See `IntegerLayer.matrix`: rows are looked up, not multiplied."""

    def forward(self, numbers: Int[Tensor, "*places"]) -> Float[Tensor, "*places columns"]:
        """Return the rows with these numbers, in float32."""
        return functional.embedding(numbers, self.weight) * self.scale[numbers].unsqueeze(-1)

    def onnx_module(self) -> nn.Module:
        return _Table(self)

    def extra_repr(self) -> str:
        """Return the shape for torch's `repr`."""
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


class _Table(nn.Module):
    weight: Tensor
    scale: Tensor

    def __init__(self, table: Int8Embedding) -> None:
        super().__init__()
        self.num_embeddings = table.num_embeddings
        self.register_buffer("weight", table.weight.detach())
        self.register_buffer("scale", table.scale.detach().float()[:, None].contiguous())

    def forward(self, numbers: Tensor) -> Tensor:
        return functional.embedding(numbers, self.weight).float() * functional.embedding(numbers, self.scale)
