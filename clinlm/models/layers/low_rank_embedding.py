"""An embedding table as the product of a narrow table and a matrix."""

from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clinlm.config.ranges import check_interval


@final
class LowRankEmbedding(nn.Module):
    """A narrow table (tokens x rank) and a linear layer without bias (rank -> width) in place of a wide table.

    Args:
        num_embeddings, embedding_dim, padding_idx: of the table that it replaces.
        rank: of the product; from 1 to the smaller side of the table.

    Attributes:
        table: Embedding, tokens x rank.
        up: Linear, rank -> width. Its rows are the output dimensions.

    Raises:
        ConfigError: a rank outside this range.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, rank: int, padding_idx: int | None = None) -> None:
        super().__init__()
        most = min(num_embeddings, embedding_dim)
        check_interval(f"rank of a {num_embeddings} x {embedding_dim} table", rank, f"[1, {most}]")
        self.table = nn.Embedding(num_embeddings, rank, padding_idx)
        self.up = nn.Linear(rank, embedding_dim, bias=False)

    @property
    def rank(self) -> int:
        """Rank of the product."""
        return self.up.in_features

    @property
    def num_embeddings(self) -> int:
        """Number of tokens."""
        return int(self.table.num_embeddings)

    @property
    def embedding_dim(self) -> int:
        """Width of the output vectors."""
        return self.up.out_features

    @property
    def padding_idx(self) -> int | None:
        """Id of the padding token, if the table has one."""
        return self.table.padding_idx

    @torch.no_grad()
    def dense(self) -> Float[Tensor, "tokens width"]:
        """Return the product as one table."""
        product: Tensor = self.table.weight @ self.up.weight.T
        return product

    def forward(self, numbers: Int[Tensor, "*places"]) -> Float[Tensor, "*places width"]:
        """Return the rows with these numbers."""
        rows: Tensor = self.up(self.table(numbers))
        return rows


@torch.no_grad()
def principal_directions(
    table: Float[Tensor, "tokens width"], often: Float[Tensor, " tokens"]
) -> tuple[Float[Tensor, "width width"], Float[Tensor, " width"]]:
    """Return the directions (columns) of largest variation of a table's rows, and their eigenvalues, largest first.

    Projecting the rows on the first k columns gives the nearest product of rank k, where the squared error of each row
    has the weight `often`: Eckart & Young 1936 on the rows times its square root.
    """
    weighed = table.double() * often.double().sqrt()[:, None]
    values, vectors = torch.linalg.eigh(weighed.T @ weighed)
    vectors = vectors.flip(1)
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    signed = vectors * torch.where(largest < 0, -1.0, 1.0)  # so that other machines find the same signs
    return signed.to(table.dtype), values.flip(0).clamp_min(0).to(table.dtype)
