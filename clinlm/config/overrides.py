"""Overrides as they are typed: `student.max_tokens=256` needs no +, and `adapter@teacher=lora` finds its slot."""

import ast
import dataclasses
import inspect
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.types import Override, OverrideType
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from clinlm.config.class_paths import OWN_PACKAGES
from clinlm.config.definitions import find_definition, find_origin
from clinlm.config.errors import ConfigError
from clinlm.config.store_url import refuse_untyped_uploads
from clinlm.config.targets import allow_targets, allowed_packages, check_configuration, check_target, typed_packages

_apply = ConfigLoaderImpl._apply_overrides_to_config
_load = ConfigLoaderImpl.load_configuration
_load_job = ConfigLoaderImpl.load_sweep_config
_ROLE = re.compile(r"^([+~]*adapter@)(teacher|student)(?==|$)")


def accept_parameters() -> None:
    """Let Hydra accept KEY=VALUE where KEY is a parameter of the class that `_target_` beside it names.

    A yaml states only what differs from the signature. Hydra refuses keys that no yaml states, and would want
    `+KEY=VALUE`; a reader cannot know which of the two a setting needs. A key that is no parameter is still refused.
    """
    ConfigLoaderImpl._apply_overrides_to_config = staticmethod(_apply_each)  # type: ignore[method-assign, assignment]


def accept_roles() -> None:
    """Let Hydra accept `adapter@teacher=lora`: the slot is `teacher_adapter`, as `teacher` holds the model.

    What is composed is checked before Hydra uses any of it: see `clinlm.config.targets`.
    """
    ConfigLoaderImpl.load_configuration = _load_checked  # type: ignore[method-assign, assignment]
    ConfigLoaderImpl.load_sweep_config = _load_job_checked  # type: ignore[method-assign, assignment]


def respelled(override: str) -> str:
    """Return an override as Hydra knows it: see `accept_roles`."""
    return _ROLE.sub(r"\1\2_adapter", override)


def _load_checked(
    loader: ConfigLoaderImpl, config_name: str | None, overrides: list[str], *rest: Any, **named: Any
) -> DictConfig:
    overrides = [respelled(override) for override in overrides]
    allow_targets(typed_packages(overrides))
    config = _load(loader, config_name, overrides, *rest, **named)
    check_configuration(config, overrides)
    return config


def _load_job_checked(loader: ConfigLoaderImpl, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
    if typed_packages(sweep_overrides) != allowed_packages(master_config):
        raise ConfigError(
            "allow must be set on the command line, for all jobs of a sweep alike; a sweep's yaml sets it"
        )
    config = _load_job(loader, master_config, sweep_overrides)
    refuse_untyped_uploads(config, sweep_overrides, master_config)
    return config


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
    target = str(node._target_)
    if not target.startswith(OWN_PACKAGES):
        check_target(target, parent)  # before it is imported to look at it
    return name in parameters(target)


@cache
def parameters(target: str) -> frozenset[str]:
    """Return the names of the parameters of a class or function, given by its dotted name.

    Those of this project are read from the source, without importing it: torch alone takes seconds.
    """
    if target.startswith(OWN_PACKAGES):
        return frozenset(_read(target))
    return frozenset(inspect.signature(get_object(target)).parameters)


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


def _fields(node: ast.ClassDef) -> Iterator[str]:
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        fields = (part.target for part in node.body if isinstance(part, ast.AnnAssign))
        yield from (field.id for field in fields if isinstance(field, ast.Name))


def _arguments(function: ast.FunctionDef) -> Iterator[str]:
    every = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    yield from (argument.arg for argument in every if argument.arg != "self")
