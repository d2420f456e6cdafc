"""The code that can change a result: the functions, classes and constants that a `_target_` reaches."""

import ast
import functools
import hashlib
import importlib.util
import re
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clinlm.config.errors import ConfigError

NO_RESULT = {
    "clinlm.config": "validates settings and says how to run; the settings that change results are in the key",
    "clinlm.tracking": "only writes down what was computed",
    "clinlm.store": "names and keeps results",
    "clinlm.training.method_report": "writes down what a method did",
    "clinlm.training.promises": "puts it into words, and checks it",
}
"""Packages and modules whose code is not counted, and why."""
_OWN = ("clinlm", "callbacks")
_LIBRARIES = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
_INSTALLED = frozenset({"site-packages", "dist-packages"})
"""Names of folders of libraries: an environment made with --system-site-packages, or `pip --user`, has several."""
_DOTTED = re.compile(r"(clinlm|callbacks)(\.\w+)+")
_LOGGERS = frozenset({"log", "logger", "logging", "warnings", "console"})
_WITHOUT_EFFECT = frozenset({"len", "str", "int", "float", "round", "sum", "max", "min", "sorted", "type", "repr"})
_SCOPES = (
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
)
"""What has variables of its own, which hide nothing outside."""
_EFFECTS, _WHOLE = "<effects>", "<module>"

_Node = tuple[str, str]
"""A module and what it defines: a name, `_EFFECTS` (statements that define nothing) or `_WHOLE`."""


@dataclass
class _Module:
    """A parsed module, without its messages.

    Attributes:
        package: whether it may have submodules.
        names: name -> the statements that define it.
        imports: name -> the dotted path that it stands for.
        effects: statements that run on import and define nothing.
    """

    package: bool
    names: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)
    effects: list[ast.stmt] = field(default_factory=list)


def sources(settings: Any, code: Iterable[str] = ()) -> dict[str, str]:
    """Return a digest of every definition of ours that the `_target_`s in `settings`, and `code`, reach.

    A definition is a function, a class, or an assignment at the top of a module. It reaches the definitions that it
    names, also those named by a dotted path in a string, as an `Edit` names its function; where a name cannot be
    resolved, the whole module counts. Only the syntax tree counts, without docstrings, error messages and log lines.
    Libraries do not count, nor does `NO_RESULT`; a user's own package does.

    Args:
        settings: anything made of mappings and sequences.
        code: dotted paths of further definitions.

    Raises:
        ConfigError: a path names no module.
    """
    found: dict[_Node, str] = {}
    waiting = [node for path in (*code, *named_targets(settings)) if (node := _located(path)) is not None]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found[node], reached = _definition(*node)
            waiting += reached
    return {f"{module}:{name}": digest for (module, name), digest in sorted(found.items())}


def named_targets(settings: Any) -> Iterator[str]:
    """Yield every `_target_` in settings, at any depth."""
    if isinstance(settings, Mapping):
        if isinstance(settings.get("_target_"), str):
            yield settings["_target_"]
        for value in settings.values():
            yield from named_targets(value)
    elif isinstance(settings, (list, tuple)):
        for value in settings:
            yield from named_targets(value)


@functools.cache
def _located(path: str) -> _Node | None:
    """Return the definition that a dotted path names; None for what is not counted.

    Raises:
        ConfigError: there is no such module.
    """
    module, *rest = path.split(".")
    if _module(module) is None:
        return None
    while rest and (found := _module(module)) and found.package and _module(f"{module}.{rest[0]}"):
        module = f"{module}.{rest.pop(0)}"
    if any(f"{module}.".startswith(f"{name}.") for name in NO_RESULT):
        return None
    own = _module(module)
    assert own is not None
    if not rest:
        return module, _WHOLE
    if rest[0] in own.names:
        return module, rest[0]
    if rest[0] in own.imports:
        return _located(".".join([own.imports[rest[0]], *rest[1:]]))
    if own.package and "*" not in own.imports:
        raise ConfigError(f"_target_ must name a class by its module, got {path!r}: no such module; check the spelling")
    return module, _WHOLE


@functools.cache
def _definition(module: str, name: str) -> tuple[str, frozenset[_Node]]:
    """Return the digest of a definition, and what it reaches."""
    own = _module(module)
    assert own is not None
    if name == _WHOLE:
        statements = [statement for some in own.names.values() for statement in some] + own.effects
    else:
        statements = own.effects if name == _EFFECTS else own.names[name]
    text = "\n".join(map(ast.dump, statements))
    reached = {(module, _EFFECTS)} if own.effects and name not in (_EFFECTS, _WHOLE) else set()
    for statement in statements:
        imports = own.imports | _imported(statement, module, own.package)
        for path in _paths(statement, imports, own.names.keys(), module):
            reached |= {node} if (node := _located(path)) is not None else set()
    return hashlib.sha256(text.encode()).hexdigest()[:12], frozenset(reached)


def _paths(statement: ast.AST, imports: Mapping[str, str], names: Iterable[str], module: str) -> Iterator[str]:
    """Yield the dotted paths of what a statement names: imported, defined in its module, or written as a string."""
    known = {name: f"{module}.{name}" for name in names} | dict(imports)
    waiting: list[tuple[ast.AST, frozenset[str]]] = [(statement, frozenset())]
    while waiting:
        node, local = waiting.pop()
        parts: list[str] = []
        inner = node
        while isinstance(inner, ast.Attribute):
            parts.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            if inner.id in known and inner.id not in local and isinstance(inner.ctx, ast.Load):
                yield ".".join([known[inner.id], *reversed(parts)])
        elif isinstance(node, ast.Constant):
            if isinstance(node.value, str) and _DOTTED.fullmatch(node.value):
                yield node.value
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inside = local | _local(node)
            waiting += [(statement, inside) for statement in node.body]
            waiting += [(part, local) for part in (*node.decorator_list, node.args, node.returns) if part is not None]
        else:
            waiting += [(child, local) for child in ast.iter_child_nodes(node)]


def _local(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """Return the names of a function's parameters and variables, which hide what its module calls the same."""
    found = {node.arg for node in ast.walk(function.args) if isinstance(node, ast.arg)}
    outer: set[str] = set()
    waiting: list[ast.AST] = [*function.body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            outer.update(node.names)
        if not isinstance(node, _SCOPES):
            waiting += ast.iter_child_nodes(node)
    return found - outer


@functools.cache
def _module(name: str) -> _Module | None:
    """Return a module of ours or the user's as it was when first asked for: a process runs the code that it imported.

    None for a library's, or if there is none.
    """
    text, package = _read(name)
    if text is None:
        return None
    own = _Module(package)
    tree = _Silent().visit(ast.parse(text))
    for statement in tree.body:
        own.imports |= _imported(statement, name, package)
        if isinstance(statement, ast.Import | ast.ImportFrom):
            continue
        defined = _defined(statement)
        for target in defined:
            own.names.setdefault(target, []).append(statement)
        if not defined and not _only_imports(statement):
            own.effects.append(statement)
    return own


def _read(name: str) -> tuple[str | None, bool]:
    """Return the text of a module, and whether it is a package; None for a library's."""
    try:
        spec = importlib.util.find_spec(name)
    except (ModuleNotFoundError, ValueError):  # the parent is no package; `__main__` has no spec
        return None, False
    if spec is None or not (spec.origin or "x.py").endswith(".py"):
        return None, False
    package = spec.submodule_search_locations is not None
    places = [Path(spec.origin)] if spec.origin else [Path(place) for place in spec.submodule_search_locations or ()]
    foreign = any(
        place.is_relative_to(library) or not _INSTALLED.isdisjoint(place.parts)
        for place in places
        for library in _LIBRARIES
    )
    if foreign and name.partition(".")[0] not in _OWN:
        return None, False
    return (places[0].read_text(encoding="utf-8") if spec.origin else ""), package


def _imported(statement: ast.AST, module: str, package: bool) -> dict[str, str]:
    """Return the names that the imports in a statement bind, and their dotted paths."""
    found = {}
    for node in ast.walk(statement):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                found[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".")[: None if package else -1]
            base = ".".join(parents[: len(parents) + 1 - node.level]) if node.level else ""
            prefix = ".".join(filter(None, [base, node.module]))
            found |= {alias.asname or alias.name: f"{prefix}.{alias.name}" for alias in node.names}
    return found


def _defined(statement: ast.stmt) -> set[str]:
    """Return the names that a statement at the top of a module defines or changes; none for one with effects only."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        bound = {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}
        return bound if all(isinstance(target, ast.Name | ast.Tuple) for target in targets) else set()
    if isinstance(statement, ast.If | ast.Try | ast.With | ast.For):
        return {
            name for node in ast.iter_child_nodes(statement) if isinstance(node, ast.stmt) for name in _defined(node)
        }
    return set()


def _only_imports(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.If):
        return all(isinstance(node, ast.Import | ast.ImportFrom) for node in statement.body) and not statement.orelse
    return isinstance(statement, ast.Pass)


class _Silent(ast.NodeTransformer):
    """Takes out what people read and no result depends on: docstrings, error messages, log lines, printed lines."""

    def visit(self, node: ast.AST) -> Any:
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [statement for statement in body if not _is_sentence(statement)]  # type: ignore[attr-defined]
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            node.exc.args = [argument for argument in node.exc.args if not _is_text(argument)]
        elif isinstance(node, ast.Assert):
            node.msg = None
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and _is_log(node.value.func):
            node.value.args = [argument for argument in node.value.args if not _is_text(argument)]
            if all(map(_has_no_effect, ast.walk(node.value))):
                return None
        elif isinstance(node, ast.expr):
            return node  # statements are not within expressions, lambdas aside
        return self.generic_visit(node)


def _is_sentence(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_text(node: ast.expr) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str)
    if isinstance(node, ast.BinOp):
        return _is_text(node.left) or _is_text(node.right)
    if isinstance(node, ast.IfExp):
        return _is_text(node.body) or _is_text(node.orelse)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return _is_text(node.func.value)
    return isinstance(node, ast.JoinedStr)


def _is_log(function: ast.expr) -> bool:
    if isinstance(function, ast.Name):
        return function.id == "print"
    if not isinstance(function, ast.Attribute):
        return False
    return function.attr == "print" or (isinstance(function.value, ast.Name) and function.value.id in _LOGGERS)


def _has_no_effect(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        plain = isinstance(node.func, ast.Name) and node.func.id in _WITHOUT_EFFECT
        return plain or _is_log(node.func) or _is_text(node)
    return not isinstance(node, ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom)
