"""Smart GRIFFIN: FFN units by the norm of their input weights, or of their activations."""

from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from callbacks.prune.ffn import FfnPruning
from callbacks.prune.settings import check_documents
from clinlm.models import structure
from clinlm.training.modules.base import Module, document_logits


@final
class SmartGriffin(FfnPruning):
    """Remove the FFN units whose input weights, or activations, have the smallest L2 norm.

    Source    S0, section 2.3 (`weight`); Dong et al. 2024, "Prompt-prompted adaptive structured pruning" (GRIFFIN),
              arXiv:2404.01365, equation 6 (`activation`).
    Names     our `ratio` is what they remove; our `skip_std` is their stability threshold.
    Changes   FFN widths, layer by layer: rows and bias of the input weight, columns of the output weight.
    Needs     `activation`: `documents` training documents, forward only.
    Cost      `weight`: none. `activation`: one forward pass; one float per unit.
    Departs   S0's conclusion speaks of activation statistics where its method speaks of weights: both are offered.
              S0 gives no ratio; 5 % makes its 108 M parameters 105 M. GRIFFIN selects for every prompt, here once.
    Clashes   after INT8 there are no float weights to slice.

    Args:
        ratio, skip_std: see `FfnPruning`.
        statistic: `weight` or `activation`.
        documents: calibration documents for `activation`.
    """

    def __init__(
        self,
        ratio: float = 0.05,
        skip_std: float = 1e-3,
        statistic: Literal["weight", "activation"] = "weight",
        documents: int = 64,
    ) -> None:
        super().__init__(ratio, skip_std)
        if statistic not in ("weight", "activation"):
            raise ValueError(f"prune.statistic is weight or activation; got {statistic!r}")
        check_documents(documents)
        self.statistic, self.documents = statistic, documents

    def scores(self, module: Module) -> list[Float[Tensor, " units"]]:
        """See `FfnPruning.scores`."""
        layers = structure.layers(module.network.body)
        if self.statistic == "weight":
            return [weight_norms(layer.up.weight) for layer in layers]
        return activation_norms(module, [layer.down for layer in layers], self.documents)


def weight_norms(weight: Float[Tensor, "units hidden"]) -> Float[Tensor, " units"]:
    """Return the L2 norm of every row."""
    norms: Tensor = weight.detach().norm(dim=1)
    return norms


def unit_squares(activations: Float[Tensor, "tokens units"]) -> Float[Tensor, " units"]:
    """Return the sum over tokens of squared activations, every token's first divided by their own L2 norm."""
    return functional.normalize(activations, dim=1).square().sum(0)


@torch.no_grad()
def activation_norms(module: Module, readers: list[nn.Linear], documents: int) -> list[Float[Tensor, " units"]]:
    """Return GRIFFIN's statistic: per unit, the L2 norm over calibration tokens of its normalised activations.

    Args:
        readers: the output linear of every FFN, whose input is the activations.
        documents: how many training documents to read.
    """
    totals = [torch.zeros(reader.in_features) for reader in readers]
    mask = torch.empty(0)

    def watch(number: int) -> RemovableHandle:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            totals[number] += unit_squares(inputs[0][mask].float())

        return readers[number].register_forward_pre_hook(hook)

    module.network.eval()
    handles = [watch(number) for number in range(len(readers))]
    for batch in module.data.calibration(documents, module.seed):
        mask = batch["attention_mask"].bool()  # padding is no token: its activations would count as evidence
        document_logits(module.network, batch, module.task.long_notes)
    for handle in handles:
        handle.remove()
    module.network.train()
    return [total.sqrt() for total in totals]
