"""Dotted paths of classes, as stored files name them."""

import importlib
import sys
from typing import TypeVar

from clinlm.config.errors import ModelError

Kind = TypeVar("Kind")
OWN_PACKAGES = ("clinlm.", "callbacks.")
OTHER_VERSION = "was made by another version of clinlm; rebuild it (run the pipeline again)"
_foreign: set[str] = set()
"""Modules of other packages that `load_stored_class` looked into."""


def class_path(kind: type) -> str:
    """Return the dotted path by which `load_class` finds a class."""
    return f"{kind.__module__}.{kind.__qualname__}"


def load_class(path: str, base: type[Kind]) -> type[Kind]:
    """Return the class at a dotted path of the configuration; see `load_stored_class` for paths of stored files.

    The module is imported, so it must be installed or on PYTHONPATH.

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


def load_stored_class(path: str, base: type[Kind]) -> type[Kind]:
    """Return the class that a stored file names, which may come from elsewhere and so must not import other code.

    Raises:
        ModelError: neither clinlm nor a package that this process has imported has such a class, or it is not a
            subclass of `base`.
    """
    if path.startswith(OWN_PACKAGES):
        try:
            return load_class(path, base)
        except ModelError as error:
            raise ModelError(f"a file that names the class {path} {OTHER_VERSION}") from error
    if path.partition(".")[0] not in sys.modules:
        raise ModelError(
            f"a stored file must name classes of packages that this process has imported, got {path!r}; if you trust "
            "its package, import it first: python -c 'import PACKAGE; from clinlm.cli.main import main; main()' "
            "ARGUMENTS"
        )
    _foreign.add(path.rpartition(".")[0])
    return load_class(path, base)


def foreign_modules() -> tuple[str, ...]:
    """Return the modules of other packages whose classes stored files named so far, for a process that opens those."""
    return tuple(sorted(_foreign))
