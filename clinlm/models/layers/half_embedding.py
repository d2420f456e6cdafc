"""An embedding table whose rows are stored in half precision."""

from typing import Self, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from clinlm.models.layers.base import IntegerLayer
from clinlm.models.layers.rounding import halves


@final
class HalfEmbedding(IntegerLayer):
    """An embedding table with rows in float16, stored as by `HalfLinear`, and widened to float32 after the lookup.

    Args:
        num_embeddings, embedding_dim, padding_idx: see `nn.Embedding`.

    Attributes:
        weight: the bits of float16 numbers, as int16.
    """

    replaces = nn.Embedding
    bits = 16
    exact = True

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim, self.padding_idx = num_embeddings, embedding_dim, padding_idx
        rows = torch.zeros(num_embeddings, embedding_dim, dtype=torch.int16)
        self.weight = nn.Parameter(rows, requires_grad=False)

    @classmethod
    @torch.no_grad()
    def from_float(cls, table: nn.Embedding) -> Self:
        """Return `table` with its rows rounded to float16.

        Raises:
            ModelError: see `halves`.
        """
        made = cls(table.num_embeddings, table.embedding_dim, table.padding_idx)
        made.weight.copy_(halves(table.weight).view(torch.int16))
        return made

    def dequantized(self) -> Float[Tensor, "rows columns"]:
        return self.integers().float()

    def integers(self) -> Float[Tensor, "rows columns"]:
        """Return the weights in float16: one number each."""
        return self.weight.detach().view(torch.float16)

    def matrix(self) -> None:
        """See `IntegerLayer.matrix`: rows are looked up, not multiplied."""

    def forward(self, numbers: Int[Tensor, "*places"]) -> Float[Tensor, "*places columns"]:
        """Return the rows with these numbers, in float32."""
        return functional.embedding(numbers, self.weight).view(torch.float16).float()

    def onnx_module(self) -> nn.Module:
        return _HalfTable(self)

    def extra_repr(self) -> str:
        """Return the shape for torch's `repr`."""
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


class _HalfTable(nn.Module):
    weight: Tensor

    def __init__(self, table: HalfEmbedding) -> None:
        super().__init__()
        self.num_embeddings = table.num_embeddings
        self.register_buffer("weight", table.integers())

    def forward(self, numbers: Tensor) -> Tensor:
        return functional.embedding(numbers, self.weight).float()
