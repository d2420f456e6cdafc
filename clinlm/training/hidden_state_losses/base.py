"""Interface of hidden-state losses: which layers are compared, how they are observed, and how padding is left out."""

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from clinlm.config.errors import ConfigError, ModelError
from clinlm.models import structure
from clinlm.models.structure import Layer

Part = Literal["hidden", "query", "key", "value"]
"""`hidden`: hidden states, (rows, tokens, hidden); the others, (rows, tokens, heads x head_size), before they are split
into heads."""
States = dict[Part, dict[int, Tensor]]
"""Part -> layer -> its output. Layers count from 1; layer 0 is the input of the first: the embeddings."""
Pairs = list[tuple[int, int]]
"""A layer of the student and the layer of the teacher that it imitates; see `States` for their numbers."""
Vectors = Float[Tensor, "rows tokens width"]
Scores = Float[Tensor, "rows heads tokens tokens"]
Keep = Bool[Tensor, "rows tokens"]
"""True where there is a token, False on padding."""


class HiddenStateLoss(nn.Module, ABC):
    """A loss between encoder layers of student and teacher, added to the loss on the logits. Subclasses are final.

    Rows and their tokens are compared, however notes are cut into rows; padding never counts. A student whose layers
    equal its teacher's has a loss of zero. Projections train with the student, and are no part of it: they are saved in
    the checkpoint, and not in the artifact.

    Args:
        weight: of this loss, relative to that on the logits; positive.

    Raises:
        ConfigError: the weight is not positive and finite.
    """

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        if not 0 < weight < math.inf:
            raise ConfigError(
                f"hidden_state_loss.weight must be positive and finite, got {weight}; hidden_state_loss=none omits it"
            )
        self.weight = weight
        self.pairs: dict[Part, Pairs] = {}
        self._layers: tuple[list[Layer], list[Layer]] = [], []

    @abstractmethod
    def matched(self, student: int, teacher: int) -> dict[Part, Pairs]:
        """Return which layers are compared, given the number of layers of both.

        Raises:
            ConfigError: the student has none to compare.
        """

    @abstractmethod
    def fit(self, student: Sequence[Layer], teacher: Sequence[Layer]) -> None:
        """Make what depends on the shapes of both: projections, numbers of heads.

        Raises:
            ConfigError: the shapes cannot be compared.
        """

    @abstractmethod
    def difference(self, student: States, teacher: States, keep: Keep) -> Float[Tensor, ""]:
        """Return how much they differ, in float32; zero if they do not."""

    @final
    def attach(self, student: nn.Module, teacher: nn.Module) -> None:
        """Choose the layers of two encoders, whose shapes are final, and make the projections.

        Raises:
            ConfigError: one of them has no encoder layers, integer weights, or a shape that cannot be compared.
        """
        self._layers = _layers(student, "student"), _layers(teacher, "teacher")
        self.pairs = self.matched(len(self._layers[0]), len(self._layers[1]))
        self.fit(*self._layers)

    @final
    def watching(self, teacher: bool) -> AbstractContextManager[States]:
        """Return a context that collects the states which the student, or the teacher, computes within it."""
        place = int(teacher)
        wanted = {part: {pair[place] for pair in pairs} for part, pairs in self.pairs.items()}
        return watching(self._layers[place], wanted)

    def forward(self, student: States, teacher: States, mask: Int[Tensor, "rows tokens"]) -> Float[Tensor, ""]:
        """Return the weighted loss, computed in float32. `mask` is 1 where there is a token."""
        with torch.autocast(mask.device.type, enabled=False):
            return self.weight * self.difference(_float32(student), _float32(teacher), mask.bool())


@contextmanager
def watching(layers: Sequence[Layer], wanted: Mapping[Part, Collection[int]]) -> Iterator[States]:
    """Yield states that fill in during a forward pass; gradients flow through them.

    Args:
        layers: of the encoder, as `clinlm.models.structure.layers` returns them.
        wanted: part -> the layers to watch.
    """
    seen: States = {part: {} for part in wanted}
    handles = [_watch(layers, part, number, seen) for part, numbers in wanted.items() for number in numbers]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _watch(layers: Sequence[Layer], part: Part, number: int, seen: States) -> RemovableHandle:
    def keep(_: Any, inputs: Any, output: Any = None) -> None:
        found = inputs if output is None else output
        # Some layers return attention weights as well; some projections are called again, on relative positions.
        seen[part].setdefault(number, found[0] if isinstance(found, tuple) else found)

    if part == "hidden" and number == 0:
        return layers[0].module.register_forward_pre_hook(keep)
    module = layers[number - 1].module if part == "hidden" else getattr(layers[number - 1], part)
    handle: RemovableHandle = module.register_forward_hook(keep)
    return handle


def _layers(body: nn.Module, owner: str) -> list[Layer]:
    try:
        structure.stack(body)
    except ModelError as error:
        raise ConfigError(
            f"hidden_state_loss needs known encoder layers; the {owner} is a {type(body).__name__}, which has none; "
            f"set hidden_state_loss=none, or choose another model: {error}"
        ) from None
    return structure.layers(body)


def _float32(states: States) -> States:
    return {part: {number: tensor.float() for number, tensor in own.items()} for part, own in states.items()}


def every(student: int, teacher: int) -> Pairs:
    """Return the uniform map: layer m of M goes with layer floor(m N / M) of N; the last with the last.

    Raises:
        ConfigError: the student has more layers.
    """
    if student > teacher:
        raise ConfigError(
            f"the student must have at most as many layers as its teacher, got {student}, {teacher}; remove some, or "
            "choose hidden_state_loss=minilm or distilbert, which compare the last layers only"
        )
    return [(own, own * teacher // student) for own in range(1, student + 1)]


def projection(student: int, teacher: int) -> nn.Linear:
    """Return a linear map without bias from the student's width to the teacher's.

    It begins as the identity where the widths agree, else with orthogonal vectors: lengths and angles are kept
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
    split = [states.view(*states.shape[:2], heads, -1).transpose(1, 2) for states in (first, second)]
    found: Tensor = split[0] @ split[1].transpose(2, 3) / split[0].shape[-1] ** 0.5
    return found
