"""Libraries of the optional extras: imported where they are used, and named with their extra where they are missing."""

import importlib
from typing import Any

from clinlm.config.errors import MissingExtraError


def imported(module: str, extra: str) -> Any:
    """Return the module.

    Raises:
        MissingExtraError: it is not installed; the message says what to install.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise MissingExtraError(
            f"this part of clinlm needs the library {error.name}; it is not installed; "
            f"run pip install 'clinlm[{extra}]'",
            name=error.name,
        ) from None
