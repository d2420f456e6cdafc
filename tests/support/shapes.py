"""The type checker that pytest's jaxtyping hook puts around every function: it looks at array shapes and nothing else.

mypy checks the other types. Checking them here too would forbid the tests that hand a wrong value to a constructor in
order to read its error.
"""

from collections.abc import Callable
from typing import Any, get_args

from beartype import beartype
from jaxtyping import AbstractArray


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` with its annotated array shapes checked at every call."""
    shaped = {name: hint for name, hint in function.__annotations__.items() if _has_shape(hint)}
    function.__annotations__ = shaped
    return beartype(function)


def _has_shape(hint: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return True
    return any(_has_shape(inner) for inner in get_args(hint))
