"""Where the package `callbacks` is found: its name is a common one, and the folder one works in may have another."""

import importlib
import importlib.machinery
import importlib.util
import sys
from pathlib import Path

from clinlm.config.errors import ConfigError

_PACKAGE = "callbacks"
_HERE = Path(__file__).parents[2]
"""What holds `clinlm`, and beside it `callbacks`: site-packages, or a checkout."""


def prefer_own_methods() -> None:
    """Import the `callbacks` that was installed with clinlm, whatever else of that name Python would find first.

    `python -m clinlm` puts the current folder before everything that is installed, and PYTHONPATH does the same; a
    folder `callbacks` there would stand for the methods that `conf/` names. Does nothing where there is none beside
    clinlm.

    Raises:
        ConfigError: another package of that name has been imported already.
    """
    spec = importlib.machinery.PathFinder.find_spec(_PACKAGE, [str(_HERE)])
    if spec is None or spec.loader is None:
        return
    found = sys.modules.get(_PACKAGE)
    if found is None:
        module = importlib.util.module_from_spec(spec)
        sys.modules[_PACKAGE] = module
        spec.loader.exec_module(module)
        return
    imported = getattr(found, "__file__", None)
    if imported is None or Path(imported).resolve() != Path(str(spec.origin)).resolve():
        raise ConfigError(
            f"{_PACKAGE} must be the package in {_HERE}, got the one in {imported}, which this process imported before "
            "clinlm; rename it, or run clinlm in a process of its own"
        )
