"""Which weights compete, found the slow way."""

import torch
from torch import Tensor, nn

from clinlm.compression.masks import Scope
from clinlm.models.model import Model


def linears(model: Model) -> dict[str, Tensor]:
    modules = model.network.body.named_modules()
    return {name: m.weight.detach().clone() for name, m in modules if isinstance(m, nn.Linear)}


def groups(tensors: dict[str, Tensor], scope: Scope) -> list[Tensor]:
    """The slow way to the weights that compete: one vector a group."""
    if scope == "global":
        return [torch.cat([tensor.flatten() for tensor in tensors.values()])]
    if scope == "layer":
        return [tensor.flatten() for tensor in tensors.values()]
    rows = [row for tensor in tensors.values() for row in tensor]
    if scope == "row":
        return rows
    return [row[i : i + int(scope)] for row in rows for i in range(0, len(row) - int(scope) + 1, int(scope))]
