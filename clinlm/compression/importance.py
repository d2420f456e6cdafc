"""What every part of an encoder is worth, all in one unit: how much the loss moves as the part fades, squared."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clinlm.models import structure
from clinlm.models.layers.low_rank_embedding import principal_directions
from clinlm.models.model import Network
from clinlm.tasks.batches import Batch
from clinlm.tasks.data import TaskData
from clinlm.training.modules.base import Module, document_logits


@dataclass(frozen=True)
class Importance:
    """E_x (dL(x) / dgate)^2 of every part, x a document, where a gate of 1 multiplies what the part says.

    Source: Kwon et al. 2022, "A fast post-training pruning framework for transformers", arXiv:2204.09656, section 4.1
    (Fisher information of a mask); Molchanov et al. 2019, arXiv:1906.10771, equation 8. Squares of parts that say
    different things add up to that of both, so one unit is held against 32 numbers of a head and a direction of the
    embeddings; absolute values (Michel et al. 2019) do not, for signs within a part cancel.

    Attributes:
        heads: one vector a layer, one number a head.
        units: one vector a layer, one number an FFN unit.
        hidden: a row for every place where the hidden state is read (the embeddings; then, layer by layer, what
            attention and FFN leave), a column for every dimension.
        words: of the word embeddings, one number a direction of `basis`.
        basis: directions as columns, those in which word embeddings vary most first; a token counts as often as it
            occurs in training, and once more.
    """

    heads: list[Float[Tensor, " _"]]
    units: list[Float[Tensor, " _"]]
    hidden: Float[Tensor, "places hidden"]
    words: Float[Tensor, " width"]
    basis: Float[Tensor, "width width"]


def measure_importance(module: Module, documents: int) -> Importance:
    """Return what every head, FFN unit, hidden dimension and direction of the embeddings is worth.

    The loss is the objective of the module, of every document by itself whatever batch it is in.

    Args:
        documents: how many training documents to read.
    """
    network = module.network
    layers = structure.layers(network.body)
    basis = principal_directions(_table(network), token_counts(module.data, len(_table(network))))[0]
    read: list[Tensor] = []  # in the order of the forward pass
    totals: list[Tensor] = []
    handles = _watch(network, read)
    network.eval()
    batches = calibration_batches(module, documents)
    for batch in batches:
        read.clear()
        with torch.enable_grad():
            logits = document_logits(network, batch, module.task.long_notes)
            # A mean over units: times their number, it is a sum in which every document counts as if alone.
            loss = module.objective(logits, batch) * len(batch["index"])
            gradients = torch.autograd.grad(loss, read)
        parts = [output.detach() * gradient for output, gradient in zip(read, gradients, strict=True)]
        parts[0] = (read[0].detach() @ basis) * (gradients[0] @ basis)
        found = [sum_per_document(part, batch["document"], _documents(batch)) for part in parts]
        for layer, place in zip(layers, range(2, len(found), 4), strict=True):
            found[place] = found[place].view(-1, layer.heads, layer.head_size).sum(2)
        sums = [one.square().sum(0) for one in found]
        totals = [total + new for total, new in zip(totals, sums, strict=True)] if totals else sums
    for handle in handles:
        handle.remove()
    network.train()
    words, embedded, *rest = [total / sum(map(_documents, batches)) for total in totals]
    hidden = torch.stack([embedded, *(rest[place] for place in range(len(rest)) if place % 2)])
    return Importance(rest[::4], rest[2::4], hidden, words, basis)


def sum_per_document(
    products: Float[Tensor, "rows tokens width"], document: Int[Tensor, " rows"], documents: int
) -> Float[Tensor, "documents width"]:
    """Return the sums over the tokens of all rows of every document. Padding adds nothing: its gradient is zero."""
    return products.new_zeros(documents, products.shape[2]).index_add_(0, document, products.sum(1))


def calibration_batches(module: Module, documents: int) -> list[Batch]:
    """Return calibration batches with all that the module's objective needs, teacher logits included."""
    return module.data.calibration(documents, module.seed, teacher=True)


def _documents(batch: Batch) -> int:
    return int(batch["document"][-1]) + 1


def token_counts(data: TaskData, tokens: int) -> Float[Tensor, " tokens"]:
    """Return how often every token stands in the rows of training documents, and once more."""
    rows = [row for document in data.task.examples.members("train") for row in data.encoded.rows(int(document))]
    return torch.from_numpy(np.bincount(np.concatenate(rows), minlength=tokens) + 1.0).float()


def embedding_output(network: Network) -> nn.Module:
    """Return the module whose output is the first hidden state."""
    projection = structure.embedding_projection(network.body)
    return structure.embedding_parts(network.body)[1] if projection is None else projection


def _table(network: Network) -> Float[Tensor, "tokens width"]:
    factors = structure.low_rank_embedding(network.body)
    return structure.word_embeddings(network.body).weight.detach() if factors is None else factors.dense()


def _watch(network: Network, read: list[Tensor]) -> list[torch.utils.hooks.RemovableHandle]:
    """Collect, in this order: word embeddings, first hidden state; then of every layer what the heads give, the hidden
    state after attention, what the units give, the hidden state after the FFN."""

    def outputs(module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        return module.register_forward_hook(lambda _, __, output: read.append(output))

    def inputs(module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        return module.register_forward_pre_hook(lambda _, given: read.append(given[0]))

    words = network.body.get_submodule(structure.word_embeddings_name(network.body))
    handles = [outputs(words), outputs(embedding_output(network))]
    watch: Callable[[nn.Module], torch.utils.hooks.RemovableHandle]
    for layer in structure.layers(network.body):
        for watch, module in (
            (inputs, layer.attention_output),
            (outputs, layer.attention_norm),
            (inputs, layer.down),
            (outputs, layer.output_norm),
        ):
            handles.append(watch(module))
    return handles
