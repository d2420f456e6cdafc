"""Reconstruction: weights that compensate for pruned parts, by least squares over calibration tokens."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clinlm.compression.cutting import KeptParts
from clinlm.compression.observation import observing
from clinlm.models import structure
from clinlm.models.model import Network
from clinlm.tasks.batches import Batch
from clinlm.text.long_notes import LongNotes
from clinlm.training.modules.base import document_logits

RIDGE = 1e-3
"""Ridge, relative to the mean variance of the kept inputs: few tokens must not decide much."""


@dataclass
class Moments:
    """Sums over tokens of the inputs of linear layers.

    Attributes:
        kept: inputs to keep, ascending.
    """

    kept: list[int]
    readers: list[nn.Linear]
    count: int = 0
    total: Any = 0.0
    products: Any = 0.0

    def add(self, tokens: Float[Tensor, "tokens width"]) -> None:
        """Add the inputs at tokens."""
        self.count += len(tokens)
        self.total = self.total + tokens.sum(0).double()
        self.products = self.products + tokens.T @ tokens

    def solve(self) -> None:
        """Write new weights into the kept columns, and new biases."""
        mean = self.total / self.count
        products = self.products.double() / self.count
        for reader in self.readers:
            centred = products - torch.outer(mean, mean) if reader.bias is not None else products
            for first in range(0, reader.in_features, len(mean)):  # a head on maximum and mean has two copies
                old = reader.weight[:, first : first + len(mean)].double()
                new = regress(old, centred, self.kept)
                reader.weight[:, [first + column for column in self.kept]] = new.to(reader.weight.dtype)
                if reader.bias is not None:
                    reader.bias.add_((old @ mean - new @ mean[self.kept]).to(reader.bias.dtype))


def regress(
    weight: Float[Tensor, "outputs inputs"], products: Float[Tensor, "inputs inputs"], kept: Sequence[int]
) -> Float[Tensor, "outputs kept"]:
    """Return the weights for some inputs whose outputs are nearest, in mean squares, to those of all inputs.

    Args:
        weight: for all inputs.
        products: mean products of pairs of inputs.
        kept: inputs to use.
    """
    columns = list(kept)
    return solve_ridge(products[columns][:, columns], weight @ products[:, columns], weight[:, columns])


def solve_ridge(
    inner: Float[Tensor, "inputs inputs"], cross: Float[Tensor, "outputs inputs"], old: Float[Tensor, "outputs inputs"]
) -> Float[Tensor, "outputs inputs"]:
    """Return the weights of a least-squares fit with a ridge that pulls towards the old weights, not towards 0.

    Args:
        inner: mean products of pairs of inputs.
        cross: mean products of outputs and inputs.
    """
    ridge = RIDGE * inner.diagonal().mean().clamp_min(1e-12)
    inner = inner + ridge * torch.eye(len(inner), dtype=inner.dtype)
    solved: Tensor = torch.linalg.solve(inner, (cross + ridge * old).T).T
    return solved


@dataclass
class NormMoments:
    """Sums over tokens of the outputs of a norm, and of the unscaled outputs of a norm over the kept dimensions."""

    norm: nn.LayerNorm
    kept: list[int]
    sums: Any = field(default=0.0)
    count: int = 0

    def add(self, inputs: Float[Tensor, "tokens hidden"], outputs: Float[Tensor, "tokens hidden"]) -> None:
        """Add tokens."""
        new = nn.functional.layer_norm(inputs[:, self.kept], (len(self.kept),), eps=self.norm.eps).double()
        old = outputs[:, self.kept].double()
        self.sums = self.sums + torch.stack([new, old, new * new, new * old]).sum(1)
        self.count += len(inputs)

    def solve(self) -> None:
        """Write the scale (and shift, if it has one) of every dimension that come nearest to the old outputs."""
        new, old, square, product = self.sums / self.count
        if self.norm.bias is None:
            self.norm.weight[self.kept] = (product / square.clamp_min(1e-12)).to(self.norm.weight.dtype)
            return
        variance = (square - new * new).clamp_min(1e-12)
        scale = (product - new * old) / variance
        self.norm.weight[self.kept] = scale.to(self.norm.weight.dtype)
        self.norm.bias[self.kept] = (old - scale * new).to(self.norm.bias.dtype)


@torch.no_grad()
def reconstruct(network: Network, kept: KeptParts, batches: Sequence[Batch], long_notes: LongNotes) -> None:
    """Change the weights and biases of kept parts so that the network computes nearly the same without the others.

    Source: Kurtic et al. 2023, "ZipLM", arXiv:2302.04089, section 3.1, for layers that read heads and units; Ashkboos
    et al. 2024, "SliceGPT", arXiv:2401.15024, without its rotation, for layers that read the hidden state. Departs: one
    pass through the whole network, no inverse Hessian decides what is pruned.

    Args:
        network: not yet sliced.
        batches: of calibration documents.
    """
    moments, norms = _reader_moments(network, kept), _norm_moments(network, kept)
    mask = torch.empty(0)
    handles = []
    for watched, outputs, found in moments:

        def add(_: nn.Module, given: Any, out: Any, outputs: bool = outputs, found: Moments = found) -> None:
            found.add((out if outputs else given[0])[mask])

        handles.append(watched.register_forward_hook(add))
    for sums in norms:

        def compare(_: nn.Module, given: Any, out: Tensor, sums: NormMoments = sums) -> None:
            sums.add(given[0][mask], out[mask])

        handles.append(sums.norm.register_forward_hook(compare))
    with observing(network, handles):
        for batch in batches:
            mask = batch["attention_mask"].bool()
            document_logits(network, batch, long_notes)
    for *_, found in moments:
        found.solve()
    for sums in norms:
        sums.solve()


def _reader_moments(network: Network, kept: KeptParts) -> list[tuple[nn.Module, bool, Moments]]:
    """Return modules to observe, whether their outputs (or inputs), and moments with the layers to change."""
    layers = structure.layers(network.body)
    found: list[tuple[nn.Module, bool, Moments]] = []
    for number in kept.layers:
        layer = layers[number]
        size = layer.head_size
        inner = [head * size + place for head in kept.heads[number] for place in range(size)]
        for linear, columns in ((layer.attention_output, inner), (layer.down, kept.units[number])):
            if len(columns) < linear.in_features:
                found.append((linear, False, Moments(columns, [linear])))
    if len(kept.hidden) < structure.hidden_size(network.body):
        for watched, readers in _hidden_readers(network):
            found.append((watched, True, Moments(kept.hidden, readers)))
    return found


def _hidden_readers(network: Network) -> list[tuple[nn.Module, list[nn.Linear]]]:
    """Return every module that outputs a hidden state to read, and the linear layers that read it.

    Pooling by mean, first token or weights is linear, so the head is treated as reading tokens (also for a maximum).
    """
    last = [m for part in (network.pooling, network.head) for m in part.modules() if isinstance(m, nn.Linear)]
    return [(reading.source, list(reading.readers) or last) for reading in structure.reading_places(network.body)]


def _norm_moments(network: Network, kept: KeptParts) -> list[NormMoments]:
    if len(kept.hidden) == structure.hidden_size(network.body):
        return []
    return [NormMoments(norm, kept.hidden) for norm in structure.norms(network.body)]
