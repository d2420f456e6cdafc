"""One module in the place of another, found by its dotted name: what every edit that replaces begins and ends with."""

from typing import TypeVar

from torch import nn
from torch.nn.utils import parametrize

Kind = TypeVar("Kind", bound=nn.Module)
_CALLED = {nn.Linear: "linear layer", nn.Embedding: "embedding table"}


def find_layer(network: nn.Module, name: str, kind: type[Kind], done: str) -> Kind:
    """Return the module `name`, which is what `kind` says, to be `done` (a participle, for the message).

    Raises:
        ValueError: it is not there, is something else, or is masked.
    """
    module = dict(network.named_modules()).get(name)
    check_unmasked(module)
    if not isinstance(module, kind):
        what = "is not there" if module is None else f"is a {type(module).__name__}"
        called = _CALLED[kind]
        article = "an" if called[0] in "aeiou" else "a"
        raise ValueError(f"what is {done} is {article} {called}; {name!r} {what}; name {called}s, each once")
    return module


def replace_module(network: nn.Module, name: str, module: nn.Module) -> None:
    """Put `module` in the place `name`."""
    parent, _, attribute = name.rpartition(".")
    setattr(network.get_submodule(parent), attribute, module)


def check_unmasked(module: nn.Module | None) -> None:
    """Raise if the module has parametrizations: they would be lost.

    Raises:
        ValueError: it has.
    """
    if module is not None and parametrize.is_parametrized(module):
        raise ValueError(
            "masked linear layers are neither sliced nor replaced; list the method that changes shapes before the one "
            "that masks, or give it a stage of its own"
        )
