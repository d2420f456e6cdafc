"""A linear layer as the product of two thin ones."""

from typing import Self, final

import torch
from jaxtyping import Float
from torch import Tensor, nn


@final
class LowRankLinear(nn.Module):
    """Two linear layers in place of one: (in x rank) without bias, then (rank x out).

    Args:
        in_features, out_features: of the layer that it replaces.
        rank: of the product; 1 to the smaller of the two.
        bias: whether there is one, after the second.

    Attributes:
        down: Linear, in -> rank.
        up: Linear, rank -> out, with the bias.

    Raises:
        ValueError: a rank that the layer cannot have.
    """

    def __init__(self, in_features: int, out_features: int, rank: int, bias: bool = True) -> None:
        super().__init__()
        most = min(in_features, out_features)
        if not 1 <= rank <= most:
            raise ValueError(f"the rank of a {out_features} x {in_features} weight is 1 to {most}; got {rank}")
        self.in_features, self.out_features, self.rank = in_features, out_features, rank
        self.down = nn.Linear(in_features, rank, bias=False)
        self.up = nn.Linear(rank, out_features, bias=bias)

    @classmethod
    def of(cls, linear: nn.Linear, rank: int) -> Self:
        """Return the pair of this rank whose product is nearest to the weight of `linear`."""
        pair = cls(linear.in_features, linear.out_features, rank, linear.bias is not None)
        return pair.set(*truncated_svd(linear.weight, rank), linear.bias)

    @torch.no_grad()
    def set(
        self,
        up: Float[Tensor, "outputs rank"],
        down: Float[Tensor, "rank inputs"],
        bias: Float[Tensor, " outputs"] | None,
    ) -> Self:
        """Write the values of both factors and of the bias; returns itself."""
        self.up.weight.copy_(up)
        self.down.weight.copy_(down)
        if bias is not None:
            self.up.bias.copy_(bias)
        return self

    @property
    def weight(self) -> Tensor:
        """Refuse: there is no such tensor, and what reads it means to cut or to rank a whole one.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "a factorised layer has two weights, `down` and `up`, and none to score or slice; a method or an adapter "
            "asked for one; prune first, then factorise; an adapter may learn updates of `down` and `up`"
        )

    def forward(self, inputs: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        """Return the product of both with `inputs`, and the bias."""
        outputs: Tensor = self.up(self.down(inputs))
        return outputs

    def extra_repr(self) -> str:
        """Torch's hook."""
        return f"in_features={self.in_features}, out_features={self.out_features}, rank={self.rank}"


@torch.no_grad()
def truncated_svd(
    weight: Float[Tensor, "outputs inputs"], rank: int
) -> tuple[Float[Tensor, "outputs rank"], Float[Tensor, "rank inputs"]]:
    """Return two matrices whose product is the nearest to `weight` of its rank, in the Frobenius norm.

    Source: Eckart & Young 1936: the `rank` largest singular values and their vectors. Each factor takes the square root
    of the singular values, so that neither learns faster than the other.
    """
    left, values, right = torch.linalg.svd(weight.detach(), full_matrices=False)
    root = values[:rank].sqrt()
    return left[:, :rank] * root, root[:, None] * right[:rank]
