"""Linear layers in INT8, without training and without calibration."""

import math
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from callbacks.base import Compression
from clinlm import anatomy
from clinlm.int8 import Int8Linear
from clinlm.model import Edit
from clinlm.modules.base import Module


@final
class Dynamic(Compression):
    """Quantise the weights of linear layers to INT8 after training, and their inputs as they come.

    Source    S1, section III.E, and S4: post-training quantisation to INT8. As torch's `quantize_dynamic`: symmetric
              weights, here with a scale for every row; inputs with a scale and zero point for every call.
    Changes   every linear layer of encoder, pooling and head but those of `skip`: its weights become integers.
    Cost      none: no training, no documents. The model that comes out runs on CPUs only.
    Departs   embeddings stay in float32: in a small model they are most of the bytes. Weights use 127 of 255 levels, so
              that inputs may use all of theirs on every processor; torch has it the other way round, which errs more
              (`clinlm.int8`).
    Clashes   comes last: integers are neither trained nor pruned nor factorised.

    Args:
        skip: endings of the dotted names of linear layers that stay in float32, for example `head`.
    """

    def __init__(self, skip: Sequence[str] = ()) -> None:
        if isinstance(skip, str):
            raise ValueError(f"quantize.skip is a list of names of linear layers; got {skip!r}")
        self.skip = list(skip)
        self._rows: list[dict[str, Any]] = []

    def prepare(self, module: Module) -> None:
        """Refuse early what `finalize` could not do: a network that is quantised already, names that are not there."""
        anatomy.check_trainable(module.network)
        chosen(module.network, self.skip)

    def finalize(self, module: Module) -> None:
        """See `Compression.finalize`."""
        names = chosen(module.network, self.skip)
        before = {name: module.network.get_submodule(name) for name in names}
        if names:
            module.model.apply(Edit("clinlm.edits.quantize_linears", {"names": names}))
        self._rows = [_row(name, linear, module.network.get_submodule(name)) for name, linear in before.items()]

    def report(self) -> list[dict[str, Any]]:
        """Return every linear layer quantised: bytes before and after, relative error of its weight."""
        return self._rows

    def why_idle(self) -> str:
        """See `Compression.why_idle`."""
        return f" (no linear layer is left beside skip={self.skip})"


def chosen(network: nn.Module, skip: Sequence[str]) -> list[str]:
    """Return the dotted names of all linear layers but those that end in one of `skip`.

    Raises:
        ValueError: no linear layer ends in one of `skip`.
    """
    names = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    unknown = [ending for ending in skip if not any(_ends(name, ending) for name in names)]
    if unknown:
        raise ValueError(
            f"quantize.skip names linear layers; none ends in {unknown}; there are endings "
            f"{sorted({name.rpartition('.')[2] for name in names})}"
        )
    return [name for name in names if not any(_ends(name, ending) for ending in skip)]


def _ends(name: str, ending: str) -> bool:
    return f".{name}".endswith(f".{ending}")


@torch.no_grad()
def _row(name: str, linear: nn.Module, int8: nn.Module) -> dict[str, Any]:
    assert isinstance(linear, nn.Linear) and isinstance(int8, Int8Linear)
    weight = linear.weight.double()
    error = float((weight - int8.dequantized().double()).norm() / weight.norm().clamp_min(1e-300))
    if not math.isfinite(error):
        raise ValueError(f"only finite weights are quantised; {name} has others; training diverged: lower its rate")
    return {
        "linear": name,
        "bytes_before": _bytes([linear.weight, linear.bias]),
        "bytes_after": _bytes([int8.weight, int8.scale, int8.bias]),
        "relative_error": error,
    }


def _bytes(tensors: Sequence[Tensor | None]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors if tensor is not None)
