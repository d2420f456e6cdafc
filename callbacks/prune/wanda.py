"""Wanda: single weights by magnitude and by the activations that they multiply."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from callbacks.prune.masks import MaskPruning
from callbacks.prune.settings import check_documents
from callbacks.schedules.base import Schedule
from clinlm.training.modules.base import Module, document_logits


@final
class Wanda(MaskPruning):
    """Remove from every output the weights of the smallest |weight| x L2 norm of their input over calibration tokens.

    Source    Sun et al. 2023, "A simple and effective pruning approach for large language models", arXiv:2306.11695,
              equation 1.
    Changes   linear weights of the encoder: exact zeros; shapes stay, and so does the size of a dense file.
    Needs     `documents` training documents, forward only.
    Cost      one forward pass over them, and one more for every stair of a gradual schedule; a byte a weight.
    Departs   all layers are scored by the activations of the network as it stands; Sun et al. prune layer by layer and
              feed each what the pruned ones before it give. They do not train; a gradual schedule is ours.
    Clashes   as `Unstructured`.

    Args:
        ratio, schedule: see `MaskPruning`; the share of every single output.
        documents: calibration documents, at least 1.
    """

    def __init__(self, ratio: float = 0.5, documents: int = 64, *, schedule: Schedule) -> None:
        check_documents(documents)
        super().__init__(ratio, "row", schedule)
        self.documents = documents

    def scores(self, module: Module) -> list[Float[Tensor, "outputs inputs"]]:
        """See `MaskPruning.scores`."""
        linears = list(self.linears.values())
        norms = input_norms(module, linears, self.documents)
        return [linear.weight.detach().abs() * norm for linear, norm in zip(linears, norms, strict=True)]


@torch.no_grad()
def input_norms(module: Module, linears: list[nn.Linear], documents: int) -> list[Float[Tensor, " inputs"]]:
    """Return, per linear, the L2 norm over calibration tokens of every one of its inputs.

    Args:
        documents: how many training documents to read.
    """
    device = linears[0].weight.device
    totals = [torch.zeros(linear.in_features, device=device) for linear in linears]
    mask = torch.empty(0)

    def watch(number: int) -> RemovableHandle:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            # Padding is no token. What is not laid out as tokens (relative positions) has none and counts in full.
            tokens = inputs[0][mask] if inputs[0].shape[:-1] == mask.shape else inputs[0].flatten(0, -2)
            totals[number] += tokens.float().square().sum(0)

        return linears[number].register_forward_pre_hook(hook)

    module.network.eval()
    handles = [watch(number) for number in range(len(linears))]
    for batch in module.data.calibration(documents, module.seed):
        moved = {name: value.to(device) for name, value in batch.items()}
        mask = moved["attention_mask"].bool()
        document_logits(module.network, moved, module.task.long_notes)
    for handle in handles:
        handle.remove()
    module.network.train()
    return [total.sqrt() for total in totals]
