"""The source of this project's functions and classes, read without importing them: torch alone takes seconds."""

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_OWN = ("clinlm", "callbacks")


@cache
def find_definition(target: str) -> ast.FunctionDef | ast.ClassDef | None:
    """Return the source of a function or class of this project, by its dotted name; None if there is none."""
    module, _, name = target.rpartition(".")
    kinds = (ast.FunctionDef, ast.ClassDef)
    return next((node for node in _body(module) if isinstance(node, kinds) and node.name == name), None)


@cache
def _body(module: str) -> list[ast.stmt]:
    try:
        spec = find_spec(module) if module.partition(".")[0] in _OWN else None
    except ModuleNotFoundError:  # of `nn.Module`, whose module is no file of this project
        return []
    if spec is None or spec.origin is None:
        return []
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body


def find_origin(module: str, name: str) -> str:
    """Return the dotted name of what a module of this project calls `name`."""
    for node in _body(module):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return f"{node.module}.{alias.name}"
    return f"{module}.{name}"
