"""Weights that make up for what is cut: the nearest, in least squares over calibration tokens, to what was computed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clinlm.compression.cutting import KeptParts
from clinlm.compression.importance import embedding_output
from clinlm.models import structure
from clinlm.models.model import Network
from clinlm.tasks.batches import Batch
from clinlm.text.long_notes import LongNotes
from clinlm.training.modules.base import document_logits

RIDGE = 1e-3
"""Share of the mean variance of what stays that is added to each: few tokens must not decide much."""

Seen = Callable[[Tensor], None]


@dataclass
class Moments:
    """Sums over tokens of what linear layers read, and which of it stays.

    Attributes:
        stays: ascending columns.
        readers: linear layers.
    """

    stays: list[int]
    readers: list[nn.Linear]
    count: int = 0
    total: Any = 0.0
    products: Any = 0.0

    def see(self, tokens: Float[Tensor, "tokens width"]) -> None:
        """Add tokens."""
        self.count += len(tokens)
        self.total = self.total + tokens.sum(0).double()
        self.products = self.products + tokens.T @ tokens

    def settle(self) -> None:
        """Write new weights into the columns that stay, and new biases."""
        mean = self.total / self.count
        products = self.products.double() / self.count
        for reader in self.readers:
            centred = products - torch.outer(mean, mean) if reader.bias is not None else products
            for first in range(0, reader.in_features, len(mean)):  # a head on maximum and mean reads two, end to end
                old = reader.weight[:, first : first + len(mean)].double()
                new = regress(old, centred, self.stays)
                reader.weight[:, [first + one for one in self.stays]] = new.to(reader.weight.dtype)
                if reader.bias is not None:
                    reader.bias.add_((old @ mean - new @ mean[self.stays]).to(reader.bias.dtype))


def regress(
    weight: Float[Tensor, "outputs inputs"], products: Float[Tensor, "inputs inputs"], stays: Sequence[int]
) -> Float[Tensor, "outputs kept"]:
    """Return the weights for some of the inputs that come nearest, in mean squares, to `weight` for all of them.

    Args:
        weight: for all inputs.
        products: mean products of two inputs each.
        stays: which inputs are left.
    """
    kept = list(stays)
    inner = products[kept][:, kept]
    ridge = RIDGE * inner.diagonal().mean().clamp_min(1e-12)
    inner = inner + ridge * torch.eye(len(kept), dtype=products.dtype)
    # The ridge pulls towards the weights as they are, and not towards 0.
    target = weight @ products[:, kept] + ridge * weight[:, kept]
    solved: Tensor = torch.linalg.solve(inner, target.T).T
    return solved


@dataclass
class NormSums:
    """Sums over tokens of what a norm says, and of what it would say without scale if it saw less.

    Attributes:
        norm: a LayerNorm.
        stays: the dimensions that it will see.
    """

    norm: nn.LayerNorm
    stays: list[int]
    sums: Any = field(default=0.0)
    count: int = 0

    def see(self, inputs: Float[Tensor, "tokens hidden"], outputs: Float[Tensor, "tokens hidden"]) -> None:
        """Add tokens."""
        seen = nn.functional.layer_norm(inputs[:, self.stays], (len(self.stays),), eps=self.norm.eps).double()
        said = outputs[:, self.stays].double()
        self.sums = self.sums + torch.stack([seen, said, seen * seen, seen * said]).sum(1)
        self.count += len(inputs)

    def settle(self) -> None:
        """Write the scale and shift of every dimension that come nearest to what the norm said."""
        seen, said, square, product = self.sums / self.count
        variance = (square - seen * seen).clamp_min(1e-12)
        scale = (product - seen * said) / variance
        self.norm.weight[self.stays] = scale.to(self.norm.weight.dtype)
        self.norm.bias[self.stays] = (said - scale * seen).to(self.norm.bias.dtype)


@torch.no_grad()
def reconstruct(network: Network, stays: KeptParts, batches: Sequence[Batch], long_notes: LongNotes) -> None:
    """Change weights and biases, in the places that stay, so that the network computes nearly the same without others.

    Source: Kurtic et al. 2023, "ZipLM", arXiv:2302.04089, section 3.1, for what reads heads and units; Ashkboos et al.
    2024, "SliceGPT", arXiv:2401.15024, without its rotation, for what reads the hidden state. Departs: one pass through
    the whole network, no inverse Hessian decides what goes.

    Args:
        network: not yet cut.
        stays: what will be left.
        batches: of calibration documents.
        long_notes: of the task.
    """
    moments, norms = _readers(network, stays), _norms(network, stays)
    mask = torch.empty(0)
    handles = []
    for module, outputs, found in moments:

        def look(_: nn.Module, given: Any, said: Any, outputs: bool = outputs, found: Moments = found) -> None:
            found.see((said if outputs else given[0])[mask])

        handles.append(module.register_forward_hook(look))
    for sums in norms:

        def compare(_: nn.Module, given: Any, said: Tensor, sums: NormSums = sums) -> None:
            sums.see(given[0][mask], said[mask])

        handles.append(sums.norm.register_forward_hook(compare))
    network.eval()
    for batch in batches:
        mask = batch["attention_mask"].bool()
        document_logits(network, batch, long_notes)
    for handle in handles:
        handle.remove()
    for *_, found in moments:
        found.settle()
    for sums in norms:
        sums.settle()
    network.train()


def _readers(network: Network, stays: KeptParts) -> list[tuple[nn.Module, bool, Moments]]:
    """Return what to watch, whether its output (or its input), and who reads it."""
    layers = structure.layers(network.body)
    found: list[tuple[nn.Module, bool, Moments]] = []
    for number in stays.layers:
        layer = layers[number]
        size = layer.head_size
        inner = [head * size + place for head in stays.heads[number] for place in range(size)]
        for linear, kept in ((layer.attention_output, inner), (layer.down, stays.units[number])):
            if len(kept) < linear.in_features:
                found.append((linear, False, Moments(kept, [linear])))
    if len(stays.hidden) < structure.hidden_size(network.body):
        for watched, readers in _hidden_readers(network):
            found.append((watched, True, Moments(stays.hidden, readers)))
    return found


def _hidden_readers(network: Network) -> list[tuple[nn.Module, list[nn.Linear]]]:
    """Return every module that leaves a hidden state, and the linear layers that read it.

    Pooling by mean, first token or weights is linear, so the head is taken to read tokens (of a maximum, too).
    """
    layers = structure.layers(network.body)
    last = [m for part in (network.pooling, network.head) for m in part.modules() if isinstance(m, nn.Linear)]
    after = [[layer.query, layer.key, layer.value] for layer in layers[1:]] + [last]
    found: list[tuple[nn.Module, list[nn.Linear]]] = [
        (embedding_output(network), [layers[0].query, layers[0].key, layers[0].value])
    ]
    for layer, readers in zip(layers, after, strict=True):
        found += [(layer.attention_norm, [layer.up]), (layer.output_norm, readers)]
    return found


def _norms(network: Network, stays: KeptParts) -> list[NormSums]:
    if len(stays.hidden) == structure.hidden_size(network.body):
        return []
    layers = structure.layers(network.body)
    norms = [norm for layer in layers for norm in (layer.attention_norm, layer.output_norm)]
    if structure.embedding_projection(network.body) is None:
        norms.insert(0, structure.embedding_parts(network.body)[1])
    return [NormSums(norm, stays.hidden) for norm in norms]
