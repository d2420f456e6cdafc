"""Patient knowledge distillation: directions of hidden states, layer by layer."""

from collections.abc import Sequence
from typing import Literal, final

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from clinlm.config.errors import ConfigError
from clinlm.models.structure import Layer
from clinlm.training.hidden_state_losses.base import HiddenStateLoss, Keep, Pairs, Part, States, Vectors, every


@final
class Pkd(HiddenStateLoss):
    """Distance between normalized hidden states, for every layer but the last.

    Source    Sun et al. 2019, "Patient knowledge distillation for BERT model compression", arXiv:1908.09355, section
              3.2: the squared distance of hidden states of length 1, a sum over layers.
    Needs     a student as wide as its teacher, with 2 layers at least and no more than it.
    Cost      one forward pass of the teacher's network a step.
    Departs   the paper compares the first token, which its head reads; `mean` compares what ours reads, and `all`
              every token. A mean over rows (or tokens), where the paper sums. Layer numbers are rounded down.

    Args:
        layers: `skip`, every k-th layer of the teacher; or `last`, those right below its last one.
        tokens: `first`, `mean` (of the tokens of a row) or `all`.
        weight: see `HiddenStateLoss`; beta in the paper.

    Raises:
        ConfigError: a setting out of its range; (on attaching) another width, or layers that cannot be matched.
    """

    def __init__(
        self,
        layers: Literal["skip", "last"] = "skip",
        tokens: Literal["first", "mean", "all"] = "first",
        weight: float = 1.0,
    ) -> None:
        super().__init__(weight)
        if layers not in ("skip", "last"):
            raise ConfigError(f"hidden_state_loss.layers must be skip or last, got {layers!r}")
        if tokens not in ("first", "mean", "all"):
            raise ConfigError(f"hidden_state_loss.tokens must be first, mean or all, got {tokens!r}")
        self.layers, self.tokens = layers, tokens

    def matched(self, student: int, teacher: int) -> dict[Part, Pairs]:
        if student < 2:
            raise ConfigError(
                "hidden_state_loss=pkd needs a student of at least 2 layers (the last is not compared), got "
                f"{student}; add layers, or choose hidden_state_loss=minilm or distilbert"
            )
        skip = every(student, teacher)
        last = [(own, teacher - student + own) for own, _ in skip]
        return {"hidden": (skip if self.layers == "skip" else last)[:-1]}

    def fit(self, student: Sequence[Layer], teacher: Sequence[Layer]) -> None:
        ours, theirs = student[0].query.in_features, teacher[0].query.in_features
        if ours != theirs:
            raise ConfigError(
                f"hidden_state_loss=pkd needs hidden states of one width, got student={ours}, teacher={theirs}; choose "
                "hidden_state_loss=tinybert, minilm or distilbert, or a student as wide as its teacher"
            )

    def difference(self, student: States, teacher: States, keep: Keep) -> Float[Tensor, ""]:
        terms = [
            (self._units(student["hidden"][ours], keep) - self._units(teacher["hidden"][theirs], keep))
            .square()
            .sum(-1)
            .mean()
            for ours, theirs in self.pairs["hidden"]
        ]
        return sum(terms[1:], terms[0])

    def _units(self, hidden: Vectors, keep: Keep) -> Float[Tensor, "compared hidden"]:
        """Return what is compared, each of length 1."""
        if self.tokens == "all":
            return functional.normalize(hidden[keep], dim=-1)
        if self.tokens == "first":
            return functional.normalize(hidden[:, 0], dim=-1)
        return functional.normalize((hidden * keep.unsqueeze(-1)).sum(1), dim=-1)
