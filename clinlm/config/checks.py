"""Checks of values that constructors make, run from their source: no class is imported, which takes seconds."""

import ast
import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from omegaconf import DictConfig, OmegaConf

from clinlm.config import ranges
from clinlm.config.definitions import find_definition, find_origin
from clinlm.config.errors import ConfigError
from clinlm.config.usage import used_settings

_KNOWN = {name: value for name, value in vars(ranges).items() if name.startswith("check_")}
_KNOWN |= {"ConfigError": ConfigError, "math": math}
"""What a check may use besides the parameters."""


def check_values(config: DictConfig) -> None:
    """Run the checks of every class whose settings a pipeline reads; torch, which takes seconds, is not imported.

    A check is a statement of a constructor that uses its parameters and nothing else: a call of a function of
    `clinlm.config.ranges`, or an `if` that only raises. All others run when the class is instantiated.

    Raises:
        ConfigError: as the class raises it.
    """
    _check(OmegaConf.to_container(used_settings(config), resolve=False))


def check_margin(margin: Any) -> None:
    """Raise ConfigError unless the margin of non-inferiority is null or a share in (0, 1)."""
    if margin is not None and not (isinstance(margin, float) and 0 < margin < 1):
        raise ConfigError(
            f"margin must be a share in (0, 1), got {margin}; 0.02 is two points, and null gives no verdict"
        )


def _check(node: Any) -> None:
    if isinstance(node, dict):
        if str(node.get("_target_")).startswith(("clinlm.", "callbacks.")):
            literal = {key: value for key, value in node.items() if "${" not in str(value) and value != "???"}
            check_arguments(str(node["_target_"]), literal)
        for value in node.values():
            _check(value)


def check_arguments(target: str, given: Mapping[str, Any]) -> None:
    """Run the checks of one class, and of its bases, that need no more than the given arguments and literal defaults.

    Args:
        target: dotted name of a class of this project.

    Raises:
        ConfigError: as the class raises it.
    """
    node, module = find_definition(target), target.rpartition(".")[0]
    if not isinstance(node, ast.ClassDef):
        return
    known = {**_defaults(node), **given}
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name in ("__init__", "__post_init__"):
            _run(part.body, module, known)
    for base in node.bases:  # an argument that a constructor hands to its base has the same name there
        check_arguments(find_origin(module, ast.unparse(base)), known)


def _run(statements: list[ast.stmt], module: str, known: Mapping[str, Any]) -> None:
    for statement in statements:
        if _only_raises(statement):
            _execute(statement, known)
        elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
            called = statement.value.func
            if isinstance(called, ast.Name) and called.id in _KNOWN:
                _execute(statement, known)
            elif isinstance(called, ast.Name):
                _run_function(find_origin(module, called.id), statement.value.args, known)


def _run_function(target: str, arguments: list[ast.expr], known: Mapping[str, Any]) -> None:
    """Run the checks of a function that a constructor calls with its parameters."""
    function = find_definition(target)
    if isinstance(function, ast.FunctionDef):
        given = [ast.unparse(argument).removeprefix("self.") for argument in arguments]
        names = [argument.arg for argument in function.args.args]
        own = {name: known[value] for name, value in zip(names, given, strict=False) if value in known}
        _run(function.body, target.rpartition(".")[0], own)


def _only_raises(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and [type(own) for own in statement.body] == [ast.Raise]


def _execute(statement: ast.stmt, known: Mapping[str, Any]) -> None:
    """Run a statement of this project's source; one that uses anything else, or a value of another type, is left."""
    code = compile(ast.Module([statement], []), "check", "exec")
    try:
        exec(code, {**_KNOWN, **known, "self": SimpleNamespace(**known)})
    except ConfigError:
        raise
    except (NameError, AttributeError, TypeError, ValueError):
        return  # the constructor runs it, and reports what is wrong


def _defaults(node: ast.ClassDef) -> dict[str, Any]:
    """Return the literal defaults of a constructor, or of the fields of a dataclass."""
    found: dict[str, Any] = {}
    for part in node.body:
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            found |= _literal(part.target.id, part.value)
        elif isinstance(part, ast.FunctionDef) and part.name == "__init__":
            positional = part.args.args
            for argument, value in zip(positional[::-1], part.args.defaults[::-1], strict=False):
                found |= _literal(argument.arg, value)
            for argument, default in zip(part.args.kwonlyargs, part.args.kw_defaults, strict=True):
                found |= _literal(argument.arg, default)
    return found


def _literal(name: str, value: ast.expr | None) -> dict[str, Any]:
    try:
        return {} if value is None else {name: ast.literal_eval(value)}
    except ValueError:
        return {}
