"""The key of everything that is cached: a hash of what it depends on."""

import ast
import functools
import hashlib
import importlib.util
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_PACKAGES = ("clinlm", "callbacks")
_LENGTH = 12
_DOTTED = re.compile(r"(clinlm|callbacks)(\.\w+)+")


def digest(settings: Any) -> str:
    """Return the key of anything made of JSON: 12 hex digits of the sha256 of its canonical form.

    Raises:
        TypeError, ValueError: something that JSON cannot hold, such as an object or NaN.
    """
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]


def sources(settings: Any) -> dict[str, str]:
    """Return a digest of the code of every one of our files that the `_target_`s in `settings` reach.

    They reach what they import, and what they name by a dotted path in a string, as an `Edit` names its function.
    Only the syntax tree counts, without docstrings: a comment or better sentence retrains nothing, a changed line does.
    """
    found: dict[str, str] = {}
    waiting = [target.rpartition(".")[0] for target in _targets(settings)]
    while waiting:
        module = waiting.pop()
        if module.partition(".")[0] in _PACKAGES and module not in found:
            tree = _code(module)
            found[module] = hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:_LENGTH]
            waiting += _imports(tree)
    return dict(sorted(found.items()))


def _targets(settings: Any) -> list[str]:
    if isinstance(settings, Mapping):
        own = [settings["_target_"]] if isinstance(settings.get("_target_"), str) else []
        return own + [t for value in settings.values() for t in _targets(value)]
    if isinstance(settings, (list, tuple)):
        return [t for value in settings for t in _targets(value)]
    return []


@functools.cache
def _code(module: str) -> ast.Module:
    """Return the syntax tree as it was when first asked for: a process runs the code that it imported at its start."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ValueError(f"a _target_ names a class by its module; there is no module {module!r}; check the spelling")
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_docstring(body[0]):
            body.pop(0)
    return tree


def _is_docstring(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _imports(tree: ast.Module) -> list[str]:
    """Return the modules of ours that a file imports or names in a string."""
    found = []
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"our files import by full names; one has {ast.unparse(node)!r}; write the full name")
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _DOTTED.fullmatch(node.value):
            names = [node.value]
        found += [_module(name) for name in names if name.partition(".")[0] in _PACKAGES]
    return found


def _module(dotted: str) -> str:
    """Return the module that `dotted` names, or that holds what it names."""
    module, *rest = dotted.split(".")
    for part in rest:
        spec = importlib.util.find_spec(module)
        if spec is None or spec.submodule_search_locations is None or not importlib.util.find_spec(f"{module}.{part}"):
            break
        module = f"{module}.{part}"
    return module
