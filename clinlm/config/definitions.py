"""The source of this project's functions and classes, read without importing them: torch alone takes seconds."""

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from clinlm.config.class_paths import OWN_PACKAGES


@cache
def find_definition(target: str) -> ast.FunctionDef | ast.ClassDef | None:
    """Return the source of a function or class of this project, by its dotted name; None if there is none."""
    module, _, name = target.rpartition(".")
    kinds = (ast.FunctionDef, ast.ClassDef)
    return next((node for node in _body(module) if isinstance(node, kinds) and node.name == name), None)


@cache
def _body(module: str) -> list[ast.stmt]:
    top, *parts = module.split(".")
    spec = find_spec(top) if f"{top}.".startswith(OWN_PACKAGES) else None
    if spec is None or not spec.submodule_search_locations:
        return []
    place = Path(spec.submodule_search_locations[0], *parts)  # by its file: `find_spec` of a module imports its parents
    files = [place / "__init__.py", place.with_name(f"{place.name}.py")] if parts else [place / "__init__.py"]
    return next((ast.parse(file.read_text(encoding="utf-8")).body for file in files if file.is_file()), [])


def find_origin(module: str, name: str) -> str:
    """Return the dotted name of what a module of this project calls `name`."""
    for node in _body(module):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return f"{node.module}.{alias.name}"
    return f"{module}.{name}"


def class_constant(target: str, name: str) -> Any:
    """Return the literal that a class of this project, not its bases, gives to `name`; None for none."""
    node = find_definition(target)
    for part in node.body if isinstance(node, ast.ClassDef) else ():
        if isinstance(part, ast.Assign | ast.AnnAssign) and part.value is not None:
            places = part.targets if isinstance(part, ast.Assign) else [part.target]
            if name in [place.id for place in places if isinstance(place, ast.Name)]:
                return ast.literal_eval(part.value)
    return None
