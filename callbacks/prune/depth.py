"""Pruning of layers by block influence."""

from collections.abc import Mapping, Sequence
from typing import final

from jaxtyping import Float
from torch import Tensor, nn

from callbacks.prune.base import StructuralPruning
from clinlm.compression.scores import block_influences
from clinlm.config.ranges import check_at_least
from clinlm.models import structure
from clinlm.models.model import Edit
from clinlm.training.modules.base import Module
from clinlm.training.promises import LayerKept


@final
class Depth(StructuralPruning):
    """Remove the encoder layers whose outputs are most similar to their inputs.

    Source    Men et al. 2024, "ShortGPT", arXiv:2403.03853, equation 1: block influence, 1 - cos(input, output).
    Changes   the number of layers.
    Needs     `documents` training documents, forward only.
    Cost      one forward pass; one float per layer.
    Departs   there decoders with a norm before each block, here encoders with a norm after it: the compared states are
              normalised.
    Clashes   integer weights.

    Args:
        ratio: share of the layers to remove, in (0, 1); at least one stays.
        documents: calibration documents.
    """

    def __init__(self, ratio: float = 0.25, documents: int = 64) -> None:
        super().__init__(ratio)
        check_at_least("prune.documents", documents, 1)
        self.documents = documents

    def sizes(self, body: nn.Module) -> list[int]:
        return [len(structure.layers(body))]

    def scores(self, module: Module) -> list[Float[Tensor, " _"]]:
        return [block_influences(module, self.documents)]

    def rows(self, module: Module, scores: Sequence[Float[Tensor, " _"]], kept: Sequence[list[int]]) -> list[LayerKept]:
        return [LayerKept(number, score, number in kept[0]) for number, score in enumerate(scores[0].tolist())]

    def edit(self, kept: Mapping[str, list[int]]) -> Edit:
        return Edit("clinlm.models.surgery.keep_layers", {"numbers": kept["0"]})

    def no_change_reason(self) -> str:
        return f" (ratio={self.ratio:g} of {len(self._rows)} layers, of which one must stay)"
