"""DistilBERT: directions of the last hidden states."""

from collections.abc import Sequence
from typing import final

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from clinlm.models.structure import Layer
from clinlm.training.hidden_state_losses.base import HiddenStateLoss, Keep, Pairs, Part, States, projection


@final
class Distilbert(HiddenStateLoss):
    """Cosine distance between the hidden states of the last layers.

    Source    Sanh et al. 2019, "DistilBERT", arXiv:1910.01108, section 3: the cosine embedding loss, 1 - cos, a mean
              over tokens.
    Needs     any width and number of layers.
    Cost      one forward pass of the teacher's network a step.
    Departs   where widths differ (they do not in the paper), a learned projection comes first.

    Args:
        weight: see `HiddenStateLoss`.
    """

    def matched(self, student: int, teacher: int) -> dict[Part, Pairs]:
        return {"hidden": [(student, teacher)]}

    def fit(self, student: Sequence[Layer], teacher: Sequence[Layer]) -> None:
        widths = student[0].query.in_features, teacher[0].query.in_features
        self.projection = projection(*widths) if widths[0] != widths[1] else nn.Identity()

    def difference(self, student: States, teacher: States, keep: Keep) -> Float[Tensor, ""]:
        ((ours, theirs),) = self.pairs["hidden"]
        states = self.projection(student["hidden"][ours][keep])
        cosines: Tensor = functional.cosine_similarity(states, teacher["hidden"][theirs][keep], dim=-1)
        return (1 - cosines).mean()
