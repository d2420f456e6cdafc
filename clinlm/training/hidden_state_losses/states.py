"""What the layers of an encoder compute of a batch, seen from outside while it answers."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from torch import Tensor
from torch.utils.hooks import RemovableHandle

from clinlm.models.structure import Layer

Part = Literal["hidden", "query", "key", "value"]
"""`hidden`: hidden states, (rows, tokens, hidden); the others, (rows, tokens, heads x head_size), before they are split
into heads."""
States = dict[Part, dict[int, Tensor]]
"""Part -> layer -> what it computed. Layers count from 1; layer 0 is what the first of them reads: the embeddings."""
Wanted = Mapping[Part, Collection[int]]
"""Part -> the layers at which to look."""


@contextmanager
def watching(layers: Sequence[Layer], wanted: Wanted) -> Iterator[States]:
    """Yield what fills, as the encoder answers, with what is `wanted`; gradients flow through it.

    Args:
        layers: of the encoder, as `clinlm.models.structure.layers` returns them.
        wanted: where to look.
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
        seen[part][number] = inputs[0] if output is None else output

    if part == "hidden" and number == 0:
        return layers[0].query.register_forward_pre_hook(keep)
    module = layers[number - 1].output_norm if part == "hidden" else getattr(layers[number - 1], part)
    handle: RemovableHandle = module.register_forward_hook(keep)
    return handle
