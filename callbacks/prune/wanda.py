"""Wanda: pruning of single weights by magnitude and input activations."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from callbacks.prune.masks import MaskPruning
from callbacks.schedules.base import Schedule
from clinlm.compression.scores import input_norms
from clinlm.config.ranges import check_at_least
from clinlm.training.modules.base import Module


@final
class Wanda(MaskPruning):
    """Remove from every output the weights with the smallest |weight| x L2 norm of their input over calibration tokens.

    Source    Sun et al. 2023, "A simple and effective pruning approach for large language models", arXiv:2306.11695,
              equation 1.
    Changes   linear weights of the encoder: exact zeros; shapes and the size of a dense file do not change.
    Needs     `documents` training documents, forward only.
    Cost      one forward pass over them, and one more at every step of a gradual schedule; a byte per weight.
    Departs   all layers are scored by the activations of the unpruned network; Sun et al. prune layer by layer and feed
              each with the outputs of the pruned ones before it. They do not train; a gradual schedule is ours.
    Clashes   as `Unstructured`.

    Args:
        ratio, schedule: see `MaskPruning`; the share of every single output.
        documents: calibration documents, at least 1.
    """

    def __init__(self, ratio: float = 0.5, documents: int = 64, *, schedule: Schedule) -> None:
        check_at_least("prune.documents", documents, 1)
        super().__init__(ratio, "row", schedule)
        self.documents = documents

    @torch.no_grad()
    def scores(self, module: Module) -> list[Float[Tensor, "outputs inputs"]]:
        linears = list(self.linears.values())
        norms = input_norms(module, linears, self.documents)
        return [linear.weight.detach().abs() * norm for linear, norm in zip(linears, norms, strict=True)]
