"""Overrides as they are typed: `student.max_tokens=256` needs no +, and `adapter@teacher=lora` finds its slot."""

import ast
import dataclasses
import inspect
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.types import Override, OverrideType
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

_OWN = ("clinlm", "callbacks")
_apply = ConfigLoaderImpl._apply_overrides_to_config
_load = ConfigLoaderImpl.load_configuration
_ROLE = re.compile(r"^([+~]*adapter@)(teacher|student)(?==|$)")


def accept_parameters() -> None:
    """Let Hydra accept KEY=VALUE where KEY is a parameter of the class that `_target_` beside it names.

    A yaml states only what differs from the signature. Hydra refuses keys that no yaml states, and would want
    `+KEY=VALUE`; a reader cannot know which of the two a setting needs. A key that is no parameter is still refused.
    """
    ConfigLoaderImpl._apply_overrides_to_config = staticmethod(_apply_each)  # type: ignore[method-assign, assignment]


def accept_roles() -> None:
    """Let Hydra accept `adapter@teacher=lora`: the slot is `teacher_adapter`, as `teacher` holds the model."""
    ConfigLoaderImpl.load_configuration = _load_respelled  # type: ignore[method-assign, assignment]


def respelled(override: str) -> str:
    """Return an override as Hydra knows it: see `accept_roles`."""
    return _ROLE.sub(r"\1\2_adapter", override)


def _load_respelled(
    loader: ConfigLoaderImpl, config_name: str | None, overrides: list[str], *rest: Any, **named: Any
) -> DictConfig:
    return _load(loader, config_name, [respelled(override) for override in overrides], *rest, **named)


def _apply_each(overrides: list[Override], config: DictConfig) -> None:
    for override in overrides:
        if override.type == OverrideType.CHANGE and _is_unstated_parameter(config, override.key_or_group):
            override = dataclasses.replace(override, type=OverrideType.FORCE_ADD)
        _apply([override], config)


def _is_unstated_parameter(config: DictConfig, key: str) -> bool:
    parent, _, name = key.rpartition(".")
    try:
        node = OmegaConf.select(config, parent) if parent else None
    except OmegaConfBaseException:  # an interpolation that cannot be resolved yet: Hydra reports what is wrong
        return False
    if not isinstance(node, DictConfig) or name in node.keys() or "_target_" not in node:
        return False
    return name in parameters(str(node._target_))


@cache
def parameters(target: str) -> frozenset[str]:
    """Return the names of the parameters of a class or function, given by its dotted name.

    Those of this project are read from the source, without importing it: torch alone takes seconds.
    """
    if target.partition(".")[0] not in _OWN:
        return frozenset(inspect.signature(get_object(target)).parameters)
    return frozenset(_read(target))


def _read(target: str) -> Iterator[str]:
    module = target.rpartition(".")[0]
    node = find_definition(target)
    if isinstance(node, ast.FunctionDef):
        yield from _arguments(node)
    elif isinstance(node, ast.ClassDef):
        constructors = [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"]
        for constructor in constructors:
            yield from _arguments(constructor)
        if not constructors:  # the fields of a dataclass, or the constructor of a base
            yield from _fields(node)
            for base in node.bases:
                yield from _read(find_origin(module, ast.unparse(base)))


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


def _fields(node: ast.ClassDef) -> Iterator[str]:
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        fields = (part.target for part in node.body if isinstance(part, ast.AnnAssign))
        yield from (field.id for field in fields if isinstance(field, ast.Name))


def _arguments(function: ast.FunctionDef) -> Iterator[str]:
    every = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    yield from (argument.arg for argument in every if argument.arg != "self")


def find_origin(module: str, name: str) -> str:
    """Return the dotted name of what a module of this project calls `name`."""
    for node in _body(module):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return f"{node.module}.{alias.name}"
    return f"{module}.{name}"
