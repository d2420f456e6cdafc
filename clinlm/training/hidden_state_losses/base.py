"""What all hidden_state_loss promise, which layers are compared, and how padding is left out."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from clinlm.models import structure
from clinlm.models.structure import Layer
from clinlm.training.hidden_state_losses.states import Part, States, watching

Pairs = list[tuple[int, int]]
"""A layer of the student and the layer of the teacher that it imitates; see `States` for their numbers."""
Vectors = Float[Tensor, "rows tokens width"]
Scores = Float[Tensor, "rows heads tokens tokens"]
Keep = Bool[Tensor, "rows tokens"]
"""True where there is a token, False on padding."""


class HiddenStateLoss(nn.Module, ABC):
    """A loss on what encoder layers compute, beside the loss on answers. Subclasses are final.

    What is compared are rows and their tokens, however notes are cut into rows; padding never counts. A student that
    computes what its teacher does has a loss of zero. What is learnt here (projections) trains beside the student, and
    is no part of it: it travels in the checkpoint, and not in the artifact.

    Args:
        weight: of this loss, beside that of the answers; positive.

    Raises:
        ValueError: the weight is not positive and finite.
    """

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        if not 0 < weight < math.inf:
            raise ValueError(
                f"hidden_state_loss.weight must be positive and finite, got {weight}; hidden_state_loss=none omits it"
            )
        self.weight = weight
        self.pairs: dict[Part, Pairs] = {}
        self._layers: tuple[list[Layer], list[Layer]] = [], []

    @abstractmethod
    def matched(self, student: int, teacher: int) -> dict[Part, Pairs]:
        """Return which layers are compared, given the number of layers of both.

        Raises:
            ValueError: the student has none that could be.
        """

    @abstractmethod
    def fit(self, student: Sequence[Layer], teacher: Sequence[Layer]) -> None:
        """Make what the shapes of both ask for: projections, numbers of heads.

        Raises:
            ValueError: the shapes cannot be compared.
        """

    @abstractmethod
    def difference(self, student: States, teacher: States, keep: Keep) -> Float[Tensor, ""]:
        """Return how much they differ, in float32; zero if they do not."""

    @final
    def attach(self, student: nn.Module, teacher: nn.Module) -> None:
        """Choose the layers of two encoders, whose shapes are final, and make the projections.

        Raises:
            ValueError: one of them has no encoder layers, has integer weights, or a shape that cannot be compared.
        """
        self._layers = _layers(student, "student"), _layers(teacher, "teacher")
        self.pairs = self.matched(len(self._layers[0]), len(self._layers[1]))
        self.fit(*self._layers)

    @final
    def watching(self, teacher: bool) -> AbstractContextManager[States]:
        """Return what fills with what the student, or the teacher, computes within."""
        place = int(teacher)
        wanted = {part: {pair[place] for pair in pairs} for part, pairs in self.pairs.items()}
        return watching(self._layers[place], wanted)

    def forward(self, student: States, teacher: States, mask: Int[Tensor, "rows tokens"]) -> Float[Tensor, ""]:
        """Return the weighted loss. `mask` is 1 where there is a token; all is computed in float32."""
        with torch.autocast(mask.device.type, enabled=False):
            return self.weight * self.difference(_exact(student), _exact(teacher), mask.bool())


def _layers(body: nn.Module, whose: str) -> list[Layer]:
    try:
        structure.stack(body)
    except ValueError:
        raise ValueError(
            f"hidden_state_loss needs known encoder layers; the {whose} is a {type(body).__name__}, which has none; "
            "set hidden_state_loss=none, or choose a BERT-like or DistilBERT model"
        ) from None
    return structure.layers(body)


def _exact(states: States) -> States:
    return {part: {number: tensor.float() for number, tensor in own.items()} for part, own in states.items()}


def every(student: int, teacher: int) -> Pairs:
    """Return the uniform map: layer m of M goes with layer floor(m N / M) of N; the last with the last.

    Raises:
        ValueError: the student has more layers.
    """
    if student > teacher:
        raise ValueError(
            f"the student must have at most as many layers as its teacher, got {student}, {teacher}; remove some, or "
            "choose hidden_state_loss=minilm or distilbert, which compare the last layers only"
        )
    return [(own, own * teacher // student) for own in range(1, student + 1)]


def projection(student: int, teacher: int) -> nn.Linear:
    """Return a linear map without bias from the student's width to the teacher's.

    It begins as the identity where the widths agree, else as orthogonal vectors: lengths and angles stay as they are
    (or, into fewer dimensions, none is preferred).
    """
    linear = nn.Linear(student, teacher, bias=False)
    if student == teacher:
        nn.init.eye_(linear.weight)
    else:
        nn.init.orthogonal_(linear.weight)
    return linear


def squared(student: Vectors, teacher: Vectors, keep: Keep) -> Float[Tensor, ""]:
    """Return the mean squared difference over tokens and dimensions."""
    return (student[keep] - teacher[keep]).square().mean()


def attention_scores(
    first: Float[Tensor, "rows tokens first"], second: Float[Tensor, "rows tokens second"], heads: int
) -> Float[Tensor, "rows heads tokens tokens"]:
    """Return the scaled scalar products of every token's `first` with every token's `second`, for each head."""
    split = [one.view(*one.shape[:2], heads, -1).transpose(1, 2) for one in (first, second)]
    found: Tensor = split[0] @ split[1].transpose(2, 3) / split[0].shape[-1] ** 0.5
    return found
