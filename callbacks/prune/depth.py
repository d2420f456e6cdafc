"""Whole layers by how little they change what passes through them."""

from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from callbacks.base import Compression
from callbacks.prune.settings import check_documents, check_ratio
from clinlm.models import structure
from clinlm.models.model import Edit
from clinlm.training.method_report import MethodReport
from clinlm.training.modules.base import Module, document_logits
from clinlm.training.promises import LayerKept


@final
class Depth(Compression):
    """Remove the encoder layers whose outputs are most like their inputs.

    Source    Men et al. 2024, "ShortGPT", arXiv:2403.03853, equation 1: block influence, 1 - cos(input, output).
    Changes   the number of layers.
    Needs     `documents` training documents, forward only.
    Cost      one forward pass; one float a layer.
    Departs   there decoders that normalise before a layer, here encoders that normalise after it: what is compared has
              been normalised.
    Clashes   after INT8 a network is finished.

    Args:
        ratio: share of the layers removed, in (0, 1); at least one stays.
        documents: calibration documents.
    """

    technique: ClassVar[str] = "pruning"

    def __init__(self, ratio: float = 0.25, documents: int = 64) -> None:
        check_ratio(ratio)
        check_documents(documents)
        self.ratio, self.documents = ratio, documents
        self._rows: list[LayerKept] = []

    def prepare(self, module: Module) -> None:
        """See `Compression.prepare`."""
        scores = block_influences(module, self.documents)
        stay = influential(scores, self.ratio)
        self._rows = [LayerKept(number, score, number in stay) for number, score in enumerate(scores.tolist())]
        if len(stay) < len(scores):
            module.model.apply(Edit("clinlm.models.surgery.keep_layers", {"numbers": stay}))

    def report(self) -> MethodReport:
        """Return every layer as it was numbered before: its block influence, and whether it was kept."""
        return MethodReport(tuple(self._rows))

    def no_change_reason(self) -> str:
        """See `Compression.no_change_reason`."""
        return f" (ratio={self.ratio:g} of {len(self._rows)} layers, of which one stays)"


@torch.no_grad()
def block_influences(module: Module, documents: int) -> Float[Tensor, " layers"]:
    """Return 1 - cos(input, output) of every layer, a mean over the tokens of calibration documents; in [0, 2].

    Args:
        documents: how many training documents to read.

    Raises:
        ValueError: the network has integer weights.
    """
    layers = structure.layers(module.network.body)
    read: list[Tensor] = []
    written: list[Tensor] = []

    def reads(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        read.append(inputs[0])

    def writes(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        written.append(output)

    module.network.eval()
    handles = [layer.query.register_forward_pre_hook(reads) for layer in layers]
    handles += [layer.output_norm.register_forward_hook(writes) for layer in layers]
    total, tokens = torch.zeros(len(layers), dtype=torch.float64), 0
    for batch in module.data.calibration(documents, module.seed):
        read.clear()
        written.clear()
        document_logits(module.network, batch, module.task.long_notes)
        mask = batch["attention_mask"].bool()  # padding is no token
        tokens += int(mask.sum())
        total += torch.stack([influence_sum(x[mask], y[mask]) for x, y in zip(read, written, strict=True)])
    for handle in handles:
        handle.remove()
    module.network.train()
    return (total / tokens).float()


def influence_sum(inputs: Float[Tensor, "tokens hidden"], outputs: Float[Tensor, "tokens hidden"]) -> Float[Tensor, ""]:
    """Return the sum over tokens of 1 - cos(input, output)."""
    return (1 - functional.cosine_similarity(inputs.double(), outputs.double(), dim=1)).sum()


def influential(scores: Float[Tensor, " layers"], ratio: float) -> list[int]:
    """Return the layers that stay, ascending: all but `ratio` of them, at least one, ties to the first."""
    keep = max(1, len(scores) - round(ratio * len(scores)))
    return sorted(torch.argsort(scores, descending=True, stable=True)[:keep].tolist())
