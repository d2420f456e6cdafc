"""MiniLM: relations between tokens in the self-attention of one layer."""

from collections.abc import Sequence
from math import gcd
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from clinlm.config.errors import ConfigError
from clinlm.models.structure import Layer
from clinlm.training.hidden_state_losses.base import (
    HiddenStateLoss,
    Keep,
    Pairs,
    Part,
    Scores,
    States,
    attention_scores,
)

Relation = Literal["qk", "qq", "kk", "vv"]
_PARTS: dict[str, Part] = {"q": "query", "k": "key", "v": "value"}


@final
class Minilm(HiddenStateLoss):
    """Divergence between the token relations of the last layer and those of a layer of the teacher.

    Source    Wang et al. 2020, "MiniLMv2", arXiv:2012.15828, section 3: Kullback-Leibler divergences between softmaxes
              of scaled scalar products of queries, of keys and of values, split into relation heads.
              `relations=[qk,vv]` is the first version, "MiniLM", arXiv:2002.10957, section 3.
    Needs     relation heads that divide the width of both attentions; any width, number of layers and of heads.
    Cost      one forward pass of the teacher's network a step, and each relation once in both.
    Departs   a mean over the tokens of all rows; the paper averages each row, then the rows.

    Args:
        relations: pairs of q(uery), k(ey) and v(alue), of which the loss is a sum.
        relation_heads: heads of both attentions, at least 1; None for as many as the teacher has or, where
            these do not divide both widths, the next smaller number that does. The paper: 48 or 64.
        teacher_layer: counted from 0, or from the end if negative. The paper, for large teachers: one above the middle.
        weight: see `HiddenStateLoss`.

    Raises:
        ConfigError: a setting out of its range; (on attaching) relation heads that do not divide a width, or no such
            layer of the teacher.
    """

    def __init__(
        self,
        relations: Sequence[Relation] = ("qq", "kk", "vv"),
        relation_heads: int | None = None,
        teacher_layer: int = -1,
        weight: float = 1.0,
    ) -> None:
        super().__init__(weight)
        if not relations or len(set(relations)) < len(relations) or not set(relations) <= {"qk", "qq", "kk", "vv"}:
            raise ConfigError(
                f"hidden_state_loss.relations must be some of qk, qq, kk and vv, each once, got {list(relations)}"
            )
        if relation_heads is not None and relation_heads < 1:
            raise ConfigError(f"hidden_state_loss.relation_heads must be at least 1, or null, got {relation_heads}")
        self.relations, self.relation_heads, self.teacher_layer = tuple(relations), relation_heads, teacher_layer

    def matched(self, student: int, teacher: int) -> dict[Part, Pairs]:
        if not -teacher <= self.teacher_layer < teacher:
            raise ConfigError(
                f"hidden_state_loss.teacher_layer must be in {-teacher} to {teacher - 1} ({teacher} layers), got "
                f"{self.teacher_layer}"
            )
        pair = (student, self.teacher_layer % teacher + 1)
        return {_PARTS[letter]: [pair] for letter in sorted({*"".join(self.relations)})}

    def fit(self, student: Sequence[Layer], teacher: Sequence[Layer]) -> None:
        theirs = teacher[self.teacher_layer]
        widths = student[-1].query.out_features, theirs.query.out_features
        shared = gcd(*widths)
        if self.relation_heads is not None and shared % self.relation_heads:
            raise ConfigError(
                f"hidden_state_loss.relation_heads must divide the widths of student ({widths[0]}) and teacher "
                f"({widths[1]}), got {self.relation_heads}; set a divisor of {shared}, or null"
            )
        self.heads = self.relation_heads or next(n for n in range(theirs.heads, 0, -1) if shared % n == 0)

    def difference(self, student: States, teacher: States, keep: Keep) -> Float[Tensor, ""]:
        terms = [
            relation_divergence(self._of(student, 0, one), self._of(teacher, 1, one), keep) for one in self.relations
        ]
        return sum(terms[1:], terms[0])

    def _of(self, states: States, place: int, relation: Relation) -> Scores:
        first, second = (_PARTS[letter] for letter in relation)
        layer = self.pairs[first][0][place]
        return attention_scores(states[first][layer], states[second][layer], self.heads)


def relation_divergence(student: Scores, teacher: Scores, keep: Keep) -> Float[Tensor, ""]:
    """Return the divergence KL(teacher || student) of the softmax over tokens; a mean over heads and tokens."""
    padding = ~keep[:, None, None, :]
    lowest = torch.finfo(student.dtype).min
    ours, theirs = (functional.log_softmax(one.masked_fill(padding, lowest), -1) for one in (student, teacher))
    terms = (theirs.exp() * (theirs - ours)).masked_fill(padding, 0).sum(-1)
    return terms.transpose(1, 2)[keep].mean()
