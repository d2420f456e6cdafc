"""Attention heads by what the loss would do without them, to first order."""

from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from callbacks.base import Compression
from callbacks.prune.settings import check_documents, check_ratio
from clinlm.models import structure
from clinlm.models.model import Edit
from clinlm.training.method_report import MethodReport
from clinlm.training.modules.base import Module, document_logits
from clinlm.training.promises import HeadCount


@final
class Heads(Compression):
    """Remove the attention heads that the loss depends on least, over all layers.

    Source    Michel et al. 2019, "Are sixteen heads really better than one?", arXiv:1905.10650, section 4.1: the
              absolute product of a head's output and its gradient, a mean over tokens, divided by the L2 norm of its
              layer.
    Changes   heads, layer by layer: rows of query, key and value with their biases, columns of the attention output.
    Needs     `documents` training documents with labels, forward and backward; the task's own loss.
    Cost      one forward and one backward pass without gradients of weights.
    Departs   at least one head stays in every layer; gradients are those of every document's own loss, whatever batch
              it is in.
    Clashes   after INT8 nothing has a gradient; after a factorisation there is no whole weight to slice.

    Args:
        ratio: share of all heads removed, in (0, 1).
        documents: calibration documents.
    """

    technique: ClassVar[str] = "pruning"

    def __init__(self, ratio: float = 0.25, documents: int = 64) -> None:
        check_ratio(ratio)
        check_documents(documents)
        self.ratio, self.documents = ratio, documents
        self._rows: list[HeadCount] = []

    def prepare(self, module: Module) -> None:
        """See `Compression.prepare`."""
        scores = head_importances(module, self.documents)
        stay = best_heads(scores, self.ratio)
        self._rows = [
            HeadCount(number, len(ours), len(kept), float(ours.min()), float(ours.max()))
            for number, (ours, kept) in enumerate(zip(scores, stay, strict=True))
        ]
        cut = {str(n): kept for n, kept in enumerate(stay) if len(kept) < len(scores[n])}
        if cut:
            module.model.apply(Edit("clinlm.models.surgery.keep_heads", {"heads": cut}))

    def report(self) -> MethodReport:
        """Return every layer: heads before and after, smallest and largest of its normalised importances."""
        return MethodReport(tuple(self._rows))

    def no_change_reason(self) -> str:
        """See `Compression.no_change_reason`."""
        heads = ", ".join(str(row.heads_before) for row in self._rows)
        return f" (ratio={self.ratio:g}; heads of the layers, of which one each stays: {heads})"


def head_importances(module: Module, documents: int) -> list[Float[Tensor, " _"]]:
    """Return what every head is worth: E_x |Att_h(x) . dL/dAtt_h(x)|, one vector a layer over its L2 norm.

    x is a token. Padding adds nothing: no token reads it and pooling leaves it out, so its gradient is zero.

    Args:
        documents: how many training documents to read.

    Raises:
        ValueError: the network has integer weights.
    """
    layers = structure.layers(module.network.body)
    totals = [torch.zeros(layer.heads) for layer in layers]
    read: list[Tensor] = []

    def watch(linear: nn.Linear) -> RemovableHandle:
        return linear.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))

    module.network.eval()
    handles = [watch(layer.attention_output) for layer in layers]
    for batch in module.data.calibration(documents, module.seed):
        read.clear()
        with torch.enable_grad():
            logits = document_logits(module.network, batch, module.task.long_notes)
            # A mean over units: times their number, it is a sum in which every document counts as if alone.
            loss = module.task.loss(logits, batch["targets"]) * len(batch["index"])
            gradients = torch.autograd.grad(loss, read)
        for total, output, gradient in zip(totals, read, gradients, strict=True):
            total += head_products(output.detach(), gradient, len(total))
    for handle in handles:
        handle.remove()
    module.network.train()
    return [total / (total.norm() + 1e-20) for total in totals]


def head_products(
    outputs: Float[Tensor, "rows tokens inner"], gradients: Float[Tensor, "rows tokens inner"], heads: int
) -> Float[Tensor, " heads"]:
    """Return the sum over tokens of the absolute scalar product of every head's output and gradient."""
    rows, tokens, _ = outputs.shape
    products = (outputs * gradients).view(rows, tokens, heads, -1).sum(-1)
    return products.abs().sum((0, 1))


def best_heads(scores: list[Float[Tensor, " _"]], ratio: float) -> list[list[int]]:
    """Return the heads that stay, layer by layer, ascending: all but `ratio` of all, one a layer, ties to the first."""
    stay = [set(range(len(ours))) for ours in scores]
    order = sorted(
        (float(score), -layer, -head) for layer, ours in enumerate(scores) for head, score in enumerate(ours)
    )
    left = round(ratio * len(order))
    for _, layer, head in order:
        if left and len(stay[-layer]) > 1:
            stay[-layer].remove(-head)
            left -= 1
    return [sorted(kept) for kept in stay]
