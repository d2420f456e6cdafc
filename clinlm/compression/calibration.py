"""What linear layers are given to read: ranges and histograms of their inputs over training documents."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from clinlm.compression.observers import BINS
from clinlm.models.layers.rounding import input_levels
from clinlm.training.modules.base import Module, document_logits

Range = tuple[Float[Tensor, " inputs"], Float[Tensor, " inputs"]]
"""The smallest and the largest that every single input of a layer was."""


def input_ranges(module: Module, linears: Mapping[str, nn.Linear], documents: int, seed: int) -> dict[str, Range]:
    """Return the range of every input of every layer, over the tokens of `documents` training documents."""
    found: dict[str, Range] = {}

    def see(name: str, inputs: Float[Tensor, "tokens inputs"]) -> None:
        low, high = inputs.amin(0), inputs.amax(0)
        if name in found:
            low, high = torch.minimum(low, found[name][0]), torch.maximum(high, found[name][1])
        found[name] = (low, high)

    observe_inputs(module, linears, documents, seed, see)
    return found


def input_histograms(
    module: Module,
    linears: Mapping[str, nn.Linear],
    spans: Mapping[str, tuple[float, float]],
    smooth: Mapping[str, Float[Tensor, " inputs"]],
    documents: int,
    seed: int,
) -> dict[str, Int[np.ndarray, " bins"]]:
    """Return how many inputs of every layer fall into each of equal bins, over the same tokens as `ranges`.

    Args:
        module, linears, documents, seed: as of `ranges`.
        spans: the smallest and the largest input of every layer, after it was multiplied by `smooth`.
        smooth: what the inputs of a layer are multiplied by first; layers that are not named, by nothing.
    """
    found = {name: torch.zeros(BINS, dtype=torch.float64) for name in linears}

    def see(name: str, inputs: Float[Tensor, "tokens inputs"]) -> None:
        smoothed = inputs * smooth[name] if name in smooth else inputs
        low, high = spans[name]
        found[name] += torch.histc(smoothed.clamp(low, high), BINS, low, high)

    observe_inputs(module, linears, documents, seed, see)
    return {name: counts.long().numpy() for name, counts in found.items()}


def layer_range(seen: Range, factor: Float[Tensor, " inputs"] | None) -> tuple[float, float]:
    """Return the smallest and the largest input of a layer, after each was multiplied by its positive `factor`."""
    low, high = seen if factor is None else (seen[0] * factor, seen[1] * factor)
    return float(low.min()), float(high.max())


def input_scale(low: float, high: float) -> tuple[float, int]:
    """Return scale and zero point of inputs from `low` to `high`; see `input_levels`."""
    scale, point = input_levels(torch.tensor(low), torch.tensor(high))
    return float(scale), int(point)


def check_documents(documents: int) -> None:
    """Raise unless there is at least one calibration document.

    Raises:
        ValueError: there is none.
    """
    if documents < 1:
        raise ValueError(f"quantize.documents is at least 1; got {documents}")


@torch.no_grad()
def observe_inputs(
    module: Module,
    linears: Mapping[str, nn.Linear],
    documents: int,
    seed: int,
    see: Callable[[str, Float[Tensor, "tokens inputs"]], None],
) -> None:
    """Let the network answer for `documents` training documents, and show `see` every layer's inputs, padding left out.

    Raises:
        RuntimeError: a layer was given nothing to read, so nothing is known of its inputs.
    """
    device = next(module.network.parameters()).device
    mask, seen = torch.empty(0), set[str]()

    def watch(name: str) -> RemovableHandle:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen.add(name)
            see(name, token_inputs(inputs[0], mask).float())

        return linears[name].register_forward_pre_hook(hook)

    training = module.network.training
    module.network.eval()
    handles = [watch(name) for name in linears]
    for batch in module.data.calibration(documents, seed):
        moved = {name: value.to(device) for name, value in batch.items()}
        mask = moved["attention_mask"].bool()
        document_logits(module.network, moved, module.task.long_notes)
    for handle in handles:
        handle.remove()
    module.network.train(training)
    if seen != linears.keys():
        unseen = sorted(linears.keys() - seen)
        raise RuntimeError(
            f"levels of inputs come from what a layer reads; the network gave nothing to {unseen}; name it in "
            "quantize.skip"
        )


def token_inputs(inputs: Float[Tensor, "*places inputs"], mask: Tensor) -> Float[Tensor, "tokens inputs"]:
    """Return the inputs of tokens: padding is none, and what stands there would count as evidence.

    Args:
        inputs: of a layer.
        mask: true (rows, tokens) where there is a token. Inputs that are not laid out as tokens (pooled ones, say)
            count in full.
    """
    return inputs[mask] if inputs.shape[:-1] == mask.shape else inputs.flatten(0, -2)
