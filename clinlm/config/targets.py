"""Which classes settings may name by `_target_`: what is named there is imported and called."""

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import hydra.utils
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from clinlm.config.class_paths import OWN_PACKAGES
from clinlm.config.definitions import find_definition
from clinlm.config.errors import ConfigError
from clinlm.config.store_url import refuse_untyped_uploads

_LIBRARIES = re.compile(
    r"lightning(\.pytorch)?\.Trainer|lightning\.pytorch\.(callbacks|loggers|profilers)\.[A-Z]\w*|"
    r"optuna\.(samplers\.\w+Sampler|pruners\.\w+Pruner)|torch\.(nn|optim)\.[A-Z]\w*|torch\.optim\.lr_scheduler\.[A-Z]\w*|"
    r"torchmetrics(\.\w+)?\.[A-Z]\w*|peft\.[A-Z]\w*Config|transformers\.[A-Z]\w*Config"
)
"""Classes of libraries that run nothing but themselves, whatever their arguments are."""
_LONG = re.compile(r"(lightning\.pytorch\.(callbacks|loggers|profilers))\.\w+\.([A-Z]\w*)")
"""A class by the module that defines it: such a module holds what it imports, too."""
_PLUGINS = re.compile(r"hydra_plugins(\.\w+)+|hydra\._internal\.core_plugins(\.\w+)+")
_PLUGGED = ("hydra.launcher", "hydra.sweeper")
"""Where Hydra takes plugins that are installed, and nothing else."""
_CALLED = ("callbacks", "hydra_logging", "job_logging", "launcher", "sweeper")
"""Parts of Hydra's own settings in which it calls what they name."""
_HANDLERS = re.compile(r"(logging|colorlog|rich)(\.\w+)*\.[A-Z]\w*")
_STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
_FUNCTIONS = "clinlm.text.normalization."
"""The one module of ours whose functions are settings too; they take a text and return one."""
_trusted: set[str] = set()


def allow_targets(prefixes: Iterable[str]) -> None:
    """Let this process use the classes below some packages, such as `mylab.`: its user asked for it.

    Raises:
        ConfigError: something else than the name of a package or module.
    """
    for prefix in prefixes:
        if not re.fullmatch(r"\w+(\.\w+)*\.?", prefix):
            raise ConfigError(f"allow must list packages of yours, as allow=[mylab.], got {prefix!r}")
        if prefix.partition(".")[0] in sys.stdlib_module_names:
            raise ConfigError(f"allow must list packages of yours, got {prefix!r}, which is Python's own")
        _trusted.add(prefix.removesuffix(".") + ".")


def trusted_packages() -> list[str]:
    """Return the packages that `allow_targets` let this process use."""
    return sorted(_trusted)


def is_trusted(path: str) -> bool:
    """Return whether a dotted path is below a package of `allow`."""
    return path.startswith(tuple(_trusted))


def is_library(path: str) -> bool:
    """Return whether a dotted path is one of the classes of libraries that settings may use."""
    return _LIBRARIES.fullmatch(path) is not None


def typed_packages(overrides: Iterable[str]) -> list[str]:
    """Return what `allow=[…]` on a command line lists; of several the last counts, as for every setting."""
    typed = [word.lstrip("+").removeprefix("allow=") for word in overrides if word.lstrip("+").startswith("allow=")]
    listed = re.split(r"[,\s]+", typed[-1].strip("[]'\" ")) if typed else []
    return [name.strip("'\"") for name in listed if name.strip("'\"")]


def allowed_packages(settings: DictConfig) -> list[str]:
    """Return what the setting `allow` lists; one name may stand without brackets."""
    listed = settings.get("allow") or []
    return [str(name) for name in ([listed] if isinstance(listed, str) else listed)]


def check_target(target: Any, where: str = "") -> None:
    """Raise unless `target` may be used.

    Of clinlm and `callbacks` that is every class that a module of theirs defines: a module also holds what it imports.

    Raises:
        ConfigError: it may not.
    """
    if not isinstance(target, str) or is_trusted(target) or is_library(target):
        return
    if target.startswith(OWN_PACKAGES) and _is_ours(target):
        return
    if where in _PLUGGED and _PLUGINS.fullmatch(target):
        return
    package = target.partition(".")[0]
    if target.startswith(OWN_PACKAGES):
        remedy = "there is no such class; check the spelling"
    elif package in sys.stdlib_module_names:
        remedy = "it belongs to Python itself, and no setting needs it"
    elif found := _LONG.fullmatch(target):
        remedy = f"write {found[1]}.{found[3]}"
    else:
        remedy = f"if the settings are yours and you trust that package, add allow=[{package}.] to the command"
    raise ConfigError(
        f"_target_ must name a class of clinlm, or one of those of libraries that settings may use, got {target!r}"
        f"{' in ' + where if where else ''}; nothing was run; {remedy}"
    )


def check_targets(settings: Any, where: str = "") -> None:
    """Check every `_target_` of settings, at any depth; one that is an interpolation is checked when it is used.

    Raises:
        ConfigError: see `check_target`.
    """
    for path, node in _nodes(settings, where):
        target = node.get("_target_")
        if not (isinstance(target, str) and "${" in target) or path.startswith("hydra."):  # Hydra itself uses those
            check_target(target, path)


def check_configuration(config: DictConfig, overrides: Iterable[str]) -> None:
    """Check the composed settings of a command, those of Hydra as well, before anything of them is used.

    Args:
        overrides: the command line.

    Raises:
        ConfigError: a `_target_`, or a handler of the logs, may not be used, or a yaml sets `allow`.
    """
    content = OmegaConf.to_container(config, resolve=False)
    assert isinstance(content, dict)
    set_there = allowed_packages(config)
    if set_there != typed_packages(overrides):
        raise ConfigError(f"allow must be set on the command line, and nowhere else; a yaml sets it to {set_there}")
    for path, node in _nodes(content.get("hydra") or {}, "hydra"):
        _check_logging(path, node)
    refuse_untyped_uploads(config, overrides)
    _refuse_borrowed(config.get("hydra"), "hydra")
    check_targets(content)


def instantiate(settings: Any, **others: Any) -> Any:
    """Return what Hydra makes of settings, after every `_target_` in them was checked.

    Raises:
        ConfigError: see `check_target`.
    """
    is_node = isinstance(settings, DictConfig | ListConfig)
    content = OmegaConf.to_container(settings, resolve=True) if is_node else settings
    check_targets(content)
    for _, node in _nodes(content, ""):
        if isinstance(node.get("_target_"), str):
            find_target(node["_target_"])
    return hydra.utils.instantiate(settings, **others)


def find_target(path: str) -> Any:
    """Return the class at a dotted path of the settings.

    Raises:
        ConfigError: it may not be used; see `check_target`. Of a package of the user, it must be defined there too.
    """
    check_target(path)
    found = hydra.utils.get_object(path)
    if is_trusted(path) and not is_trusted(f"{getattr(found, '__module__', '')}."):
        raise ConfigError(f"_target_ must name a class that a package of allow defines; {path!r} is from elsewhere")
    return found


def _is_ours(target: str) -> bool:
    kinds = (ast.ClassDef, ast.FunctionDef) if target.startswith(_FUNCTIONS) else ast.ClassDef
    return isinstance(find_definition(target), kinds)


def _nodes(settings: Any, where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every mapping in settings, and its dotted path."""
    if isinstance(settings, DictConfig | ListConfig):
        settings = OmegaConf.to_container(settings, resolve=False)
    if isinstance(settings, Mapping):
        yield where, settings
        for name, value in settings.items():
            yield from _nodes(value, f"{where}.{name}" if where else str(name))
    elif isinstance(settings, list | tuple):
        for value in settings:
            yield from _nodes(value, where)


def _refuse_borrowed(node: Any, path: str) -> None:
    """Refuse parts of Hydra that are interpolations of other nodes: Hydra calls what stands there, unchecked."""
    if not isinstance(node, DictConfig):
        return
    raw = OmegaConf.to_container(node, resolve=False)
    assert isinstance(raw, dict)
    for name in map(str, node):
        own = f"{path}.{name}"
        if path == "hydra" and name not in _CALLED:
            continue
        if OmegaConf.is_interpolation(node, name):
            try:
                borrowed = OmegaConf.is_config(node[name])
            except OmegaConfBaseException:  # not known yet; with other words around it, it will be a string
                borrowed = str(raw[name]).startswith("${") and str(raw[name]).endswith("}")
            if borrowed:
                raise ConfigError(f"{own} must be written out, got an interpolation; nothing was run")
        elif not OmegaConf.is_missing(node, name):
            _refuse_borrowed(node[name], own)


def _check_logging(path: str, node: Mapping[str, Any]) -> None:
    """Refuse a handler of logs that calls something: `logging.config` makes any object that is named."""
    kind = node.get("class")
    called = "()" in node or (isinstance(kind, str) and not _HANDLERS.fullmatch(kind))
    streams = [value for value in node.values() if isinstance(value, str) and value.startswith("ext://")]
    if "logging" in path and (called or {*streams} - {*_STREAMS}):
        raise ConfigError(
            f"{path} must use handlers of Python's logging, and sys.stdout or sys.stderr; nothing was run"
        )
