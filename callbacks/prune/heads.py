"""Pruning of attention heads by first-order importance."""

from collections.abc import Mapping, Sequence
from typing import final

from jaxtyping import Float
from torch import Tensor, nn

from callbacks.prune.base import StructuralPruning
from clinlm.compression.scores import head_importances
from clinlm.compression.selection import keep_best_overall
from clinlm.config.ranges import check_at_least
from clinlm.models import structure
from clinlm.models.model import Edit
from clinlm.training.modules.base import Module
from clinlm.training.promises import HeadCount


@final
class Heads(StructuralPruning):
    """Remove the attention heads on which the loss depends least, over all layers.

    Source    Michel et al. 2019, "Are sixteen heads really better than one?", arXiv:1905.10650, section 4.1: the
              absolute product of a head's output and its gradient, a mean over tokens, divided by the L2 norm of its
              layer.
    Changes   heads, layer by layer: rows of query, key and value with their biases, columns of the attention output.
    Needs     `documents` training documents with labels, forward and backward; the task's own loss.
    Cost      one forward and one backward pass without gradients of weights.
    Departs   at least one head stays in every layer; gradients are those of every document's own loss, whatever batch
              it is in.
    Clashes   integer weights, which have no gradient; factorised layers, which cannot be sliced.

    Args:
        ratio: share of all heads to remove, in (0, 1).
        documents: calibration documents.
    """

    def __init__(self, ratio: float = 0.25, documents: int = 64) -> None:
        super().__init__(ratio)
        check_at_least("prune.documents", documents, 1)
        self.documents = documents

    def sizes(self, body: nn.Module) -> list[int]:
        return [layer.heads for layer in structure.layers(body)]

    def scores(self, module: Module) -> list[Float[Tensor, " _"]]:
        return head_importances(module, self.documents)

    def select(self, scores: Sequence[Float[Tensor, " _"]]) -> list[list[int]]:
        return keep_best_overall(scores, self.ratio)

    def rows(self, module: Module, scores: Sequence[Float[Tensor, " _"]], kept: Sequence[list[int]]) -> list[HeadCount]:
        return [
            HeadCount(number, len(heads), len(kept[number]), float(heads.min()), float(heads.max()))
            for number, heads in enumerate(scores)
        ]

    def edit(self, kept: Mapping[str, list[int]]) -> Edit:
        return Edit("clinlm.models.surgery.keep_heads", {"heads": kept})

    def no_change_reason(self) -> str:
        heads = ", ".join(str(row.heads_before) for row in self._rows if isinstance(row, HeadCount))
        return f" (ratio={self.ratio:g}; heads of the layers, of which one each must stay: {heads})"
