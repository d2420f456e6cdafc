"""Scores of layers, heads, FFN units, filters and weights for pruning; larger is better."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from clinlm.compression.observation import (
    observe_inputs,
    observed_gradients,
    observing,
    record_inputs,
    record_outputs,
)
from clinlm.models import structure
from clinlm.training.modules.base import Module, document_logits


def row_l1_norms(weight: Float[Tensor, "units inputs"]) -> Float[Tensor, " units"]:
    """Return the L1 norm of every row: the sum of its absolute weights."""
    return weight.detach().abs().sum(1)


def row_l2_norms(weight: Float[Tensor, "units inputs"]) -> Float[Tensor, " units"]:
    """Return the L2 norm of every row."""
    norms: Tensor = weight.detach().norm(dim=1)
    return norms


@torch.no_grad()
def block_influences(module: Module, documents: int) -> Float[Tensor, " layers"]:
    """Return 1 - cos(input, output) of every layer, a mean over the tokens of calibration documents; in [0, 2].

    Raises:
        ModelError: the network has integer weights.
    """
    layers = structure.layers(module.network.body)
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []
    handles = record_inputs([layer.module for layer in layers], inputs)
    handles += record_outputs([layer.module for layer in layers], outputs)
    total, tokens = torch.zeros(len(layers), dtype=torch.float64), 0
    with observing(module.network, handles):
        for batch in module.data.calibration(documents, module.seed):
            inputs.clear()
            outputs.clear()
            document_logits(module.network, batch, module.task.long_notes)
            mask = batch["attention_mask"].bool()
            tokens += int(mask.sum())
            total += torch.stack([influence_sum(x[mask], y[mask]) for x, y in zip(inputs, outputs, strict=True)])
    return (total / tokens).float()


def influence_sum(inputs: Float[Tensor, "tokens hidden"], outputs: Float[Tensor, "tokens hidden"]) -> Float[Tensor, ""]:
    """Return the sum over tokens of 1 - cos(input, output)."""
    return (1 - functional.cosine_similarity(inputs.double(), outputs.double(), dim=1)).sum()


def head_importances(module: Module, documents: int) -> list[Float[Tensor, " _"]]:
    """Return E_x |Att_h(x) . dL/dAtt_h(x)| of every head h, over tokens x, one vector per layer divided by its L2 norm.

    Padding adds nothing: no token attends to it and pooling ignores it, so its gradient is zero.

    Raises:
        ModelError: the network has integer weights.
    """
    layers = structure.layers(module.network.body)
    totals = [torch.zeros(layer.heads) for layer in layers]
    seen: list[Tensor] = []
    handles = record_inputs([layer.attention_output for layer in layers], seen)
    batches = module.data.calibration(documents, module.seed)
    passes = observed_gradients(
        module, handles, seen, batches, lambda logits, batch: module.task.loss(logits, batch["targets"])
    )
    for _, observed in passes:
        for total, (output, gradient) in zip(totals, observed, strict=True):
            total += head_products(output, gradient, len(total))
    return [total / (total.norm() + 1e-20) for total in totals]


def head_products(
    outputs: Float[Tensor, "rows tokens inner"], gradients: Float[Tensor, "rows tokens inner"], heads: int
) -> Float[Tensor, " heads"]:
    """Return the sum over tokens of the absolute scalar product of every head's output and gradient."""
    rows, tokens, _ = outputs.shape
    products = (outputs * gradients).view(rows, tokens, heads, -1).sum(-1)
    return products.abs().sum((0, 1))


def activation_norms(module: Module, readers: Sequence[nn.Linear], documents: int) -> list[Float[Tensor, " _"]]:
    """Return GRIFFIN's statistic: per unit, the L2 norm over calibration tokens of its normalised activations.

    Args:
        readers: output layer of every FFN, whose inputs are the activations.
    """
    totals = [torch.zeros(reader.in_features) for reader in readers]

    def add(name: str, activations: Float[Tensor, "tokens units"]) -> None:
        totals[int(name)] += unit_squares(activations)

    observe_inputs(module, {str(n): reader for n, reader in enumerate(readers)}, documents, module.seed, add)
    return [total.sqrt() for total in totals]


def unit_squares(activations: Float[Tensor, "tokens units"]) -> Float[Tensor, " units"]:
    """Return the sum over tokens of squared activations, those of each token divided by their L2 norm first."""
    return functional.normalize(activations, dim=1).square().sum(0)


def input_norms(module: Module, linears: Sequence[nn.Linear], documents: int) -> list[Float[Tensor, " _"]]:
    """Return, per linear layer, the L2 norm over calibration tokens of every input."""
    totals = [torch.zeros(linear.in_features, device=linear.weight.device) for linear in linears]

    def add(name: str, inputs: Float[Tensor, "tokens inputs"]) -> None:
        totals[int(name)] += inputs.square().sum(0)

    observe_inputs(module, {str(n): linear for n, linear in enumerate(linears)}, documents, module.seed, add)
    return [total.sqrt() for total in totals]
