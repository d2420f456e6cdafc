"""A linear layer in parts: matrices that a checkpoint stores as one."""

from collections.abc import Sequence
from typing import Self, final

import torch
from jaxtyping import Float
from torch import Tensor, nn


@final
class SplitLinear(nn.Module):
    """Several linear layers over one input, whose outputs are concatenated.

    ModernBERT stores query, key and value as one matrix, and input and gate of its FFN as another. Parts of their own
    can be cut, factorised, quantised and adapted as in any other family.

    Args:
        parts: name -> linear layer, in the order of their outputs.
    """

    def __init__(self, parts: dict[str, nn.Linear]) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)

    @classmethod
    @torch.no_grad()
    def of(cls, linear: nn.Linear, names: Sequence[str]) -> Self:
        """Return a fused layer as equally wide parts with the same weights."""
        outputs = linear.out_features // len(names)
        made = {}
        for number, name in enumerate(names):
            rows = slice(number * outputs, (number + 1) * outputs)
            part = nn.Linear(linear.in_features, outputs, linear.bias is not None, device="meta")
            part.weight = nn.Parameter(linear.weight.detach()[rows].clone())
            if linear.bias is not None:
                part.bias = nn.Parameter(linear.bias.detach()[rows].clone())
            made[name] = part.train(linear.training)
        return cls(made)

    def forward(self, inputs: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        """Return the outputs of all parts, one after another."""
        return torch.cat([part(inputs) for part in self.children()], -1)
