"""A linear layer as the product of two thin ones."""

from typing import Self, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clinlm.config.errors import ModelError
from clinlm.config.ranges import check_interval


@final
class LowRankLinear(nn.Module):
    """Two linear layers in place of one: inputs -> rank without bias, then rank -> outputs.

    Args:
        in_features, out_features: of the layer that it replaces.
        rank: of the product; from 1 to the smaller of the two.
        bias: whether the second layer has one.

    Attributes:
        down: Linear, inputs -> rank.
        up: Linear, rank -> outputs, with the bias.

    Raises:
        ConfigError: a rank outside this range.
    """

    def __init__(self, in_features: int, out_features: int, rank: int, bias: bool = True) -> None:
        super().__init__()
        most = min(in_features, out_features)
        check_interval(f"rank of a {out_features} x {in_features} weight", rank, f"[1, {most}]")
        self.in_features, self.out_features, self.rank = in_features, out_features, rank
        self.down = nn.Linear(in_features, rank, bias=False)
        self.up = nn.Linear(rank, out_features, bias=bias)

    @classmethod
    def of(cls, linear: nn.Linear, rank: int) -> Self:
        """Return the pair whose product is the nearest of this rank to the weight of `linear`."""
        pair = cls(linear.in_features, linear.out_features, rank, linear.bias is not None)
        return pair.set(*truncated_svd(linear.weight, rank), linear.bias)

    @torch.no_grad()
    def set(
        self,
        up: Float[Tensor, "outputs rank"],
        down: Float[Tensor, "rank inputs"],
        bias: Float[Tensor, " outputs"] | None,
    ) -> Self:
        """Copy the values of both factors and of the bias; return the layer itself."""
        self.up.weight.copy_(up)
        self.down.weight.copy_(down)
        if bias is not None:
            self.up.bias.copy_(bias)
        return self

    @property
    def weight(self) -> Tensor:
        """Raise: there is no such tensor, and code that reads it would score or slice a whole weight.

        Raises:
            ModelError: always.
        """
        raise ModelError(
            "a factorised layer has no single weight to score or slice, only `down` and `up`; prune first, then "
            "factorise; let adapters target `down` and `up`"
        )

    def forward(self, inputs: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        """Return up(down(inputs))."""
        outputs: Tensor = self.up(self.down(inputs))
        return outputs

    def extra_repr(self) -> str:
        """Return the shape for torch's `repr`."""
        return f"in_features={self.in_features}, out_features={self.out_features}, rank={self.rank}"


@torch.no_grad()
def truncated_svd(
    weight: Float[Tensor, "outputs inputs"], rank: int
) -> tuple[Float[Tensor, "outputs rank"], Float[Tensor, "rank inputs"]]:
    """Return two matrices whose product is the nearest of this rank to `weight`, in the Frobenius norm.

    Source: Eckart & Young 1936: the `rank` largest singular values and their vectors. Each factor takes the square root
    of the singular values, so that neither learns faster than the other.
    """
    left, values, right = torch.linalg.svd(weight.detach(), full_matrices=False)
    root = values[:rank].sqrt()
    return left[:, :rank] * root, root[:, None] * right[:rank]
