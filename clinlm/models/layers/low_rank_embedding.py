"""An embedding table as the product of a narrow table and a matrix."""

from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


@final
class LowRankEmbedding(nn.Module):
    """A narrow table (tokens x rank) and a linear layer without bias (rank -> width) in place of a wide table.

    Args:
        num_embeddings, embedding_dim, padding_idx: of the table that it replaces.
        rank: of the product; 1 to the smaller of the two sides.

    Attributes:
        table: Embedding, tokens x rank.
        up: Linear, rank -> width. Its rows are the dimensions of what comes out.

    Raises:
        ValueError: a rank that the table cannot have.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, rank: int, padding_idx: int | None = None) -> None:
        super().__init__()
        most = min(num_embeddings, embedding_dim)
        if not 1 <= rank <= most:
            raise ValueError(f"the rank of a {num_embeddings} x {embedding_dim} table is 1 to {most}; got {rank}")
        self.table = nn.Embedding(num_embeddings, rank, padding_idx)
        self.up = nn.Linear(rank, embedding_dim, bias=False)

    @property
    def rank(self) -> int:
        """Of the product."""
        return self.up.in_features

    @property
    def num_embeddings(self) -> int:
        """Tokens."""
        return int(self.table.num_embeddings)

    @property
    def embedding_dim(self) -> int:
        """Width of what is looked up."""
        return self.up.out_features

    @property
    def padding_idx(self) -> int | None:
        """The number of the padding token, if the table knows one."""
        return self.table.padding_idx

    @torch.no_grad()
    def dense(self) -> Float[Tensor, "tokens width"]:
        """Return the table that the product stands for."""
        product: Tensor = self.table.weight @ self.up.weight.T
        return product

    def forward(self, numbers: Int[Tensor, "*places"]) -> Float[Tensor, "*places width"]:
        """Return the rows of these numbers."""
        rows: Tensor = self.up(self.table(numbers))
        return rows


@torch.no_grad()
def principal_directions(
    table: Float[Tensor, "tokens width"], often: Float[Tensor, " tokens"]
) -> tuple[Float[Tensor, "width width"], Float[Tensor, " width"]]:
    """Return the directions, as columns, along which the rows of a table vary most, and how much, largest first.

    Of all products of rank k, that of the rows' parts along the first k columns is nearest to the table, where the
    square error of a row counts `often` times: Eckart & Young 1936 on the rows times the square root of it.
    """
    weighed = table.double() * often.double().sqrt()[:, None]
    values, vectors = torch.linalg.eigh(weighed.T @ weighed)
    vectors = vectors.flip(1)
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    signed = vectors * torch.where(largest < 0, -1.0, 1.0)  # so that other machines find the same
    return signed.to(table.dtype), values.flip(0).clamp_min(0).to(table.dtype)
