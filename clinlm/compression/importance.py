"""Importance of the parts of an encoder, all in one unit: the squared change of the loss as a part fades."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clinlm.compression.observation import observed_gradients, record_inputs, record_outputs
from clinlm.models import structure
from clinlm.models.layers.low_rank_embedding import principal_directions
from clinlm.models.model import Network
from clinlm.tasks.batches import Batch
from clinlm.tasks.data import TaskData
from clinlm.training.modules.base import Module


@dataclass(frozen=True)
class Importance:
    """E_x (dL(x) / dgate)^2 of every part, over documents x, where a gate of 1 multiplies the output of the part.

    Source: Kwon et al. 2022, "A fast post-training pruning framework for transformers", arXiv:2204.09656, section 4.1
    (Fisher information of a mask); Molchanov et al. 2019, arXiv:1906.10771, equation 8. Squares of uncorrelated parts
    add up to the square of both, so a unit, the 32 numbers of a head and a direction of the embeddings can be compared;
    absolute values (Michel et al. 2019) do not, because signs within a part cancel.

    Attributes:
        heads: one vector per layer, one number per head.
        units: one vector per layer, one number per FFN unit.
        hidden: one row per place where the hidden state is read (`clinlm.models.structure.reading_places`: one of no
            layer, then two per layer), one column per dimension.
        words: of the word embeddings, one number per direction of `basis`.
        basis: directions (columns) of the word embeddings, those of largest variation first; each token is weighted by
            its count in training plus one.
    """

    heads: list[Float[Tensor, " _"]]
    units: list[Float[Tensor, " _"]]
    hidden: Float[Tensor, "places hidden"]
    words: Float[Tensor, " width"]
    basis: Float[Tensor, "width width"]


def measure_importance(module: Module, documents: int) -> Importance:
    """Return the importance of every head, FFN unit, hidden dimension and direction of the embeddings.

    The loss is the objective of the module, of every document by itself whatever batch it is in.
    """
    network = module.network
    layers = structure.layers(network.body)
    places = _places(network)
    basis = principal_directions(_table(network), token_counts(module.data, len(_table(network))))[0]
    seen: list[Tensor] = []
    totals: list[Tensor] = []
    batches = calibration_batches(module, documents)
    for batch, observed in observed_gradients(module, _record_parts(network, seen), seen, batches, module.objective):
        parts = [output * gradient for output, gradient in observed]
        parts[0] = (observed[0][0] @ basis) * (observed[0][1] @ basis)
        found = [sum_per_document(part, batch["document"], _documents(batch)) for part in parts]
        for layer, place in zip(layers, places["heads"], strict=True):
            found[place] = found[place].view(-1, layer.heads, layer.head_size).sum(2)
        sums = [products.square().sum(0) for products in found]
        totals = [total + new for total, new in zip(totals, sums, strict=True)] if totals else sums
    means = [total / sum(map(_documents, batches)) for total in totals]
    heads, units, hidden = ([means[place] for place in places[kind]] for kind in ("heads", "units", "hidden"))
    return Importance(heads, units, torch.stack(hidden), means[0], basis)


def sum_per_document(
    products: Float[Tensor, "rows tokens width"], document: Int[Tensor, " rows"], documents: int
) -> Float[Tensor, "documents width"]:
    """Return the sums over all tokens of every document. Padding adds nothing: its gradient is zero."""
    return products.new_zeros(documents, products.shape[2]).index_add_(0, document, products.sum(1))


def calibration_batches(module: Module, documents: int) -> list[Batch]:
    """Return calibration batches with everything for the module's objective, teacher logits included."""
    return module.data.calibration(documents, module.seed, teacher=True)


def _documents(batch: Batch) -> int:
    return int(batch["document"][-1]) + 1


def token_counts(data: TaskData, tokens: int) -> Float[Tensor, " tokens"]:
    """Return how often every token occurs in the rows of training documents, plus one."""
    rows = [row for document in data.task.examples.members("train") for row in data.encoded.rows(int(document))]
    return torch.from_numpy(np.bincount(np.concatenate(rows), minlength=tokens) + 1.0).float()


def _table(network: Network) -> Float[Tensor, "tokens width"]:
    factors = structure.low_rank_embedding(network.body)
    return structure.word_embeddings(network.body).weight.detach() if factors is None else factors.dense()


def _record_parts(network: Network, seen: list[Tensor]) -> list[torch.utils.hooks.RemovableHandle]:
    """Record the word embeddings; for every layer what heads and units put out; the hidden state where it is read."""
    words = network.body.get_submodule(structure.word_embeddings_name(network.body))
    handles = record_outputs([words, *(reading.source for reading in structure.reading_places(network.body))], seen)
    for layer in structure.layers(network.body):
        handles += record_inputs([layer.attention_output, layer.down], seen)
    return handles


def _places(network: Network) -> dict[str, list[int]]:
    """Return the places, in the order of a forward pass, of what `_record_parts` records; the words are first."""
    found: dict[str, list[int]] = {"heads": [], "units": [], "hidden": []}
    before = structure.reads_before(network.body)
    order = ("hidden", "heads", "hidden", "units") if before else ("heads", "hidden", "units", "hidden")
    kinds = order * len(structure.layers(network.body))
    for place, kind in enumerate((*kinds, "hidden") if before else ("hidden", *kinds), 1):
        found[kind].append(place)
    if before:
        found["hidden"].insert(0, found["hidden"].pop())
    return found
