"""Size of a model: its parameters, those other than zero, and the bytes of a folder."""

from collections.abc import Collection, Iterator
from pathlib import Path

from torch import Tensor, nn
from torch.nn.utils import parametrize

from clinlm.config.errors import MissingFileError
from clinlm.models.layers.base import IntegerLayer


def count_parameters(model: nn.Module) -> int:
    """Return the number of parameters; tied ones count once.

    A parametrized tensor (mask, fake quantisation) counts as the forward pass uses it. A quantised weight counts as its
    float original did, also where two share a byte; a factorised one as its two factors. Buffers, such as the scales of
    quantised weights, do not count.
    """
    return sum(tensor.numel() for tensor in _effective_tensors(model))


def count_nonzero(model: nn.Module) -> int:
    """Return how many of `count_parameters` are not 0 in the forward pass: a masked weight is 0."""
    return sum(int(tensor.count_nonzero()) for tensor in _effective_tensors(model))


def stored_bytes(layer: nn.Module) -> int:
    """Return the bytes of all tensors of a layer, scales included."""
    return sum(tensor.numel() * tensor.element_size() for tensor in layer.state_dict().values())


def folder_bytes(folder: Path, leave_out: Collection[str] = ()) -> int:
    """Return the bytes of all files under a folder.

    Args:
        folder: read recursively; a link counts as its target.
        leave_out: names of files or folders to ignore at any depth.

    Raises:
        MissingFileError: there is no such folder.
    """
    if not folder.is_dir():
        raise MissingFileError(f"folder {folder} must exist to measure its size")
    files = (path for path in folder.rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files if not {*path.relative_to(folder).parts} & {*leave_out})


def _effective_tensors(model: nn.Module) -> Iterator[Tensor]:
    """Yield every tensor of the forward pass once: tied ones are the same Parameter, parametrized or not."""
    ingredients: set[int] = set()
    seen: set[int] = set()
    for module in model.modules():
        if id(module) in ingredients:
            continue
        for parameter in module.parameters(recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                if isinstance(module, IntegerLayer) and parameter is module.weight:
                    yield module.integers()  # perhaps several in a byte
                else:
                    yield parameter.detach()
        if parametrize.is_parametrized(module):
            parts = module.get_submodule("parametrizations")
            ingredients |= {id(part) for part in parts.modules()}
            for name, part in parts.named_children():
                originals = {id(parameter) for parameter in part.parameters(recurse=False)}
                if not originals & seen:
                    seen |= originals
                    yield getattr(module, name).detach()
