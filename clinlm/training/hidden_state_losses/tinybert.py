"""TinyBERT: embeddings, hidden states and attention scores, layer by layer."""

from collections.abc import Sequence
from typing import final

from jaxtyping import Float
from torch import Tensor

from clinlm.models.structure import Layer
from clinlm.training.hidden_state_losses.base import (
    HiddenStateLoss,
    Keep,
    Pairs,
    Part,
    Scores,
    States,
    attention_scores,
    every,
    projection,
    squared,
)


@final
class Tinybert(HiddenStateLoss):
    """Squared differences of embeddings, hidden states and attention scores, for every layer.

    Source    Jiao et al. 2020, "TinyBERT", arXiv:1909.10351, equations 7 to 9 under the uniform layer map: mean squared
              differences, of attention scores before the softmax, and of projected embeddings and hidden states; a sum
              over layers. Its equation 10, on the logits, is our `distill`.
    Needs     a student with no more layers than its teacher; any width and number of heads.
    Cost      one forward pass of the teacher's network a step, and attention scores a second time in both.
    Departs   heads are compared one by one where both layers have equally many; else their means over heads. The
              projections begin as the identity where the widths agree. The paper trains on this loss first and on
              the logits afterwards; here both at once. Padding is left out, where the paper counts it as equal.

    Args:
        weight: see `HiddenStateLoss`. The loss grows with the layers: about 30 at the start for random layers.

    Raises:
        ConfigError: (on attaching) more layers than the teacher.
    """

    def matched(self, student: int, teacher: int) -> dict[Part, Pairs]:
        layers = every(student, teacher)
        return {"hidden": [(0, 0), *layers], "query": layers, "key": layers}

    def fit(self, student: Sequence[Layer], teacher: Sequence[Layer]) -> None:
        widths = student[0].query.in_features, teacher[0].query.in_features
        self.embeddings, self.hidden = projection(*widths), projection(*widths)
        self.heads = [layer.heads for layer in student], [layer.heads for layer in teacher]

    def difference(self, student: States, teacher: States, keep: Keep) -> Float[Tensor, ""]:
        total = squared(self.embeddings(student["hidden"][0]), teacher["hidden"][0], keep)
        for ours, theirs in self.pairs["query"]:
            total = total + squared(self.hidden(student["hidden"][ours]), teacher["hidden"][theirs], keep)
            heads = self.heads[0][ours - 1], self.heads[1][theirs - 1]
            both = (
                attention_scores(student["query"][ours], student["key"][ours], heads[0]),
                attention_scores(teacher["query"][theirs], teacher["key"][theirs], heads[1]),
            )
            if heads[0] != heads[1]:
                both = (both[0].mean(1, keepdim=True), both[1].mean(1, keepdim=True))
            total = total + squared_scores(*both, keep)
        return total


def squared_scores(student: Scores, teacher: Scores, keep: Keep) -> Float[Tensor, ""]:
    """Return the mean squared difference over heads and pairs of tokens of one row."""
    counted = (keep[:, :, None] & keep[:, None, :])[:, None]
    terms = (student - teacher).square() * counted
    total: Tensor = terms.sum() / (counted.sum() * student.shape[1])
    return total
