"""Calibration: input ranges and histograms of linear layers over training documents, and the levels they give."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clinlm.compression.observation import observe_inputs
from clinlm.compression.observers import BINS
from clinlm.config.errors import ModelError
from clinlm.models.layers.rounding import input_levels
from clinlm.training.modules.base import Module

Range = tuple[Float[Tensor, " inputs"], Float[Tensor, " inputs"]]
"""Minimum and maximum of every input of a layer."""


def input_ranges(module: Module, linears: Mapping[str, nn.Linear], documents: int, seed: int) -> dict[str, Range]:
    """Return the range of every input of every layer, over the tokens of `documents` training documents.

    Raises:
        ModelError: the network does not use a layer, so nothing is known of its inputs.
    """
    found: dict[str, Range] = {}

    def see(name: str, inputs: Float[Tensor, "tokens inputs"]) -> None:
        low, high = inputs.amin(0), inputs.amax(0)
        if name in found:
            low, high = torch.minimum(low, found[name][0]), torch.maximum(high, found[name][1])
        found[name] = (low, high)

    used = observe_inputs(module, linears, documents, seed, see)
    if used != linears.keys():
        unused = sorted(linears.keys() - used)
        raise ModelError(
            f"layers to calibrate must have inputs, the network does not use {unused}; add to quantize.skip"
        )
    return found


def input_histograms(
    module: Module,
    linears: Mapping[str, nn.Linear],
    spans: Mapping[str, tuple[float, float]],
    smooth: Mapping[str, Float[Tensor, " inputs"]],
    documents: int,
    seed: int,
) -> dict[str, Int[np.ndarray, " bins"]]:
    """Return a histogram of the inputs of every layer, over the same tokens as `input_ranges`.

    Args:
        module, linears, documents, seed: see `input_ranges`.
        spans: range of the bins of every layer, after multiplication by `smooth`.
        smooth: factors of the inputs of a layer; layers that are not named have none.
    """
    found = {name: torch.zeros(BINS, dtype=torch.float64) for name in linears}

    def see(name: str, inputs: Float[Tensor, "tokens inputs"]) -> None:
        smoothed = inputs * smooth[name] if name in smooth else inputs
        low, high = spans[name]
        found[name] += torch.histc(smoothed.clamp(low, high), BINS, low, high)

    observe_inputs(module, linears, documents, seed, see)
    return {name: counts.long().numpy() for name, counts in found.items()}


def layer_range(seen: Range, factor: Float[Tensor, " inputs"] | None) -> tuple[float, float]:
    """Return minimum and maximum of all inputs of a layer, each multiplied by its positive `factor`."""
    low, high = seen if factor is None else (seen[0] * factor, seen[1] * factor)
    return float(low.min()), float(high.max())


def input_scale(low: float, high: float) -> tuple[float, int]:
    """Return scale and zero point of inputs from `low` to `high`; see `input_levels`."""
    scale, point = input_levels(torch.tensor(low), torch.tensor(high))
    return float(scale), int(point)
