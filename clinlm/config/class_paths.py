"""Dotted paths of classes, as stored files name them."""

import importlib
from typing import TypeVar

from clinlm.config.errors import ModelError

Kind = TypeVar("Kind")


def class_path(kind: type) -> str:
    """Return the dotted path by which `load_class` finds a class."""
    return f"{kind.__module__}.{kind.__qualname__}"


def load_class(path: str, base: type[Kind]) -> type[Kind]:
    """Return the class at a dotted path; nothing but a subclass of `base` is returned, whatever the path names.

    The module is imported, so it must be installed or on PYTHONPATH; a stored file cannot bring its own code.

    Raises:
        ModelError: there is no such class, or it is not a subclass of `base`.
    """
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ModelError(f"class {path} must be importable; install its package or set PYTHONPATH") from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ModelError(f"{path} must be a subclass of {base.__name__}")
    return found
