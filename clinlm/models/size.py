"""Size of a model: its parameters, those that are not zero, and the bytes of a folder."""

from collections.abc import Collection, Iterator
from pathlib import Path

from torch import Tensor, nn
from torch.nn.utils import parametrize

from clinlm.models.layers.int4_linear import Int4Linear


def count_parameters(model: nn.Module) -> int:
    """Numbers in the model's parameters, tied ones counted once.

    A parametrized tensor (a mask, fake quantisation) counts as what the forward pass uses, not as its ingredients. A
    quantised weight counts as the float one did, also where two of them share a byte; a factorised one as its two
    factors. Buffers, such as the scales of quantised weights, do not count.
    """
    return sum(tensor.numel() for tensor in _effective(model))


def count_nonzero(model: nn.Module) -> int:
    """Of `parameters`, those that are not 0 in the forward pass: a masked weight is 0."""
    return sum(int(tensor.count_nonzero()) for tensor in _effective(model))


def folder_bytes(folder: Path, leave_out: Collection[str] = ()) -> int:
    """Bytes of all files under a folder.

    Args:
        folder: is read recursively; a link counts as the file it leads to.
        leave_out: names of files or folders that are no part of what is deployed, at any depth.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"the size of a folder needs the folder; {folder} is none")
    files = (path for path in folder.rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files if not {*path.relative_to(folder).parts} & {*leave_out})


def _effective(model: nn.Module) -> Iterator[Tensor]:
    """Every tensor of the forward pass once: tied ones are the same Parameter, parametrized or not."""
    ingredients: set[int] = set()
    seen: set[int] = set()
    for module in model.modules():
        if id(module) in ingredients:
            continue
        for parameter in module.parameters(recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield _numbers(module, parameter)
        if parametrize.is_parametrized(module):
            parts = module.get_submodule("parametrizations")
            ingredients |= {id(part) for part in parts.modules()}
            for name, part in parts.named_children():
                originals = {id(parameter) for parameter in part.parameters(recurse=False)}
                if not originals & seen:
                    seen |= originals
                    yield getattr(module, name).detach()


def _numbers(module: nn.Module, parameter: nn.Parameter) -> Tensor:
    """What a parameter holds: in a byte of INT4 weights there are two."""
    if isinstance(module, Int4Linear) and parameter is module.weight:
        return module.integers()
    return parameter.detach()
