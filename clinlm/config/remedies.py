"""What to do about an error in the configuration: the nearest name, the options, or Hydra's own remedy."""

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from clinlm.config.near_names import ask_for, did_you_mean, near_names
from clinlm.config.overrides import parameters
from clinlm.config.settings import compose
from clinlm.config.validation import CONF

_UNKNOWN = re.compile(
    r"[Kk]ey '([^']+)' is not in struct|override '([^'=]+)'|overriding '([^'=]+)'|'([^'=]+)' does not exist"
)
_TO_ADD = re.compile(r"use (\+\S+)")
_SLOTS = re.compile(r"one of ([^?]+)\?")
_LISTED = re.compile(r"Ambiguous value for argument '(.+)'")
_PLAIN = re.compile(r"[\w.:/\\%+ -]+", re.ASCII)
"""Text that needs no quotes in Hydra's grammar, except `_OTHER`."""
_OTHER = re.compile(r"null|true|false|on|off|yes|no|[+-]?(?:[\d_.]+(?:e[+-]?\d+)?|inf|nan)", re.IGNORECASE)
"""Words and numbers that are no text in Hydra's grammar or in YAML."""


def explain(error: BaseException) -> str:
    """Return the message of `error` as one paragraph; an error of Hydra or OmegaConf gets a remedy."""
    message = str(error).strip()
    if isinstance(error, MissingConfigException) and error.options is not None:
        return _unknown_option(str(error.missing_cfg_file), list(error.options))
    if isinstance(error, MissingMandatoryValue):
        key = error.full_key or "it"
        return f"missing required setting: {key}; add {key}=VALUE to the command"
    if is_null_group(error):
        return "a group must have the name of an option, got null; write GROUP=none"
    if not isinstance(error, HydraException | OmegaConfBaseException):
        return message
    if "missing EQUAL" in message and (parsed := re.search(r"override '([^']+)'", message)):
        return f"arguments must be KEY=VALUE, got {parsed[1]!r}"
    if isinstance(error, OverrideParseException) and (quoted := _quoted(error.override or "")):
        return quoted
    if listed := _LISTED.match(message):
        key, _, value = listed[1].partition("=")
        return (
            f"{key} must have one value, got {value!r}, which is read as several; {typed_override(key, value)} is one "
            f"text with commas, {typed_override(key, value.split(','))} is a list, and clinlm -m runs every value"
        )
    if message.startswith("Multiple values for") and (twice := re.search(r"use 'override ([^:]+): ([^']+)'", message)):
        return f"the group {twice[1]} has an option already; write {twice[1]}={twice[2]} without +"
    if found := _UNKNOWN.search(message):
        return _unknown_setting(next(filter(None, found.groups())), message)
    return "; ".join(line.strip() for line in message.splitlines() if line.strip())


def is_null_group(error: BaseException) -> bool:
    """Return whether `error` is the plain ValueError that Hydra raises for GROUP=null."""
    return isinstance(error, ValueError) and str(error).startswith("Config group override must be a string or a list")


def _quoted(override: str) -> str:
    """Return how to write an override that has characters of Hydra's grammar; "" if quotes do not help."""
    key, _, value = override.partition("=")
    inner = value.strip()
    if inner[:1] in ("[", "{") and not (inner.startswith("[") and inner.endswith("]")):
        return ""
    parts = [name.strip() for name in inner[1:-1].split(",")] if inner.startswith("[") else None
    typed = typed_override(key, value if parts is None else parts)
    try:
        OverridesParser.create().parse_override(shlex.split(typed)[0])
    except HydraException:
        return ""
    odd = "".join(sorted({character for character in value if not _PLAIN.fullmatch(character)} - {*"[],"}))
    return f"text with the characters {odd} must be in quotes, got {override}; write {typed}"


def typed_override(key: str, value: str | Sequence[str] | Mapping[str, str] | None) -> str:
    """Return KEY=VALUE as it is typed in a shell, so that Hydra reads this text or these texts and nothing else."""
    if value is None:
        return f"{key}=null"
    if isinstance(value, str):
        text = _literal(value)
    elif isinstance(value, Mapping):
        text = f"{{{','.join(f'{name}:{_literal(own)}' for name, own in value.items())}}}"
    else:
        text = f"[{','.join(map(_literal, value))}]"
    return shlex.quote(f"{key}={text}")


def _literal(value: str) -> str:
    """Return a text as Hydra's grammar writes it, in quotes where it would be read as something else."""
    if _PLAIN.fullmatch(value) and value == value.strip() and not _OTHER.fullmatch(value):
        return value
    escaped = re.sub(r'(\\*)("|$)', lambda found: 2 * found[1] + (found[2] and '\\"'), value)
    return f'"{escaped}"'


def _unknown_option(path: str, options: list[str]) -> str:
    group, _, wanted = path.rpartition("/")
    remedy = did_you_mean(wanted, options) or f"; options: {', '.join(options)}"
    extras = "; further launchers: pip install 'clinlm[joblib]', [submitit] or [ray]"
    return f"unknown option {group}={wanted}{remedy}{extras if group == 'hydra/launcher' else ''}"


def _unknown_setting(name: str, message: str) -> str:
    """Explain a group or key that the configuration lacks. Groups are searched before keys."""
    to_add = _TO_ADD.search(message)
    if "No match in the defaults list" in message:  # a group without a default
        wanted = to_add[1].rpartition("=")[2] if to_add else ""
        options = sorted(path.stem for path in (CONF / name).glob("*.yaml"))
        if wanted in options:
            return f"the group {name} has no default to override; add an option with +{name}={wanted}"
        near = ask_for([f"+{name}={option}" for option in near_names(wanted, options)])
        return f"unknown option {name}={wanted}" + (near or f"; add +{name}= one of {', '.join(options)}")
    if slots := _SLOTS.search(message):
        known = slots[1].split(", ")
        return f"unknown slot {name}{ask_for((near_names(name, known)[:1] if '@' in name else []) or known)}"
    keys = _keys(compose("config", []), "")
    parent, _, leaf = name.rpartition(".")
    if parent in _groups() and OmegaConf.select(compose("config", []), parent) is None:
        return _unknown_of_absent(parent, leaf)
    siblings = {key.rpartition(".")[2]: key for key in keys if key.rpartition(".")[0] == parent}
    if parent and siblings:
        close = [siblings[other] for other in near_names(leaf, siblings)]
        return f"unknown setting {name!r}" + (ask_for(close) or f"; {parent} has {', '.join(siblings)}")
    same = sorted((key for key in keys if key.endswith(f".{name}")), key=len)[:2]
    groups = [] if parent else near_names(name, _groups())
    remedy = ask_for([*groups, *same] or near_names(name, keys if parent else siblings))
    return f"unknown setting {name!r}{remedy or '; `clinlm --cfg job` prints all settings'}" + (
        f" (to add it: {to_add[1]})" if to_add and not remedy else ""
    )


def _unknown_of_absent(group: str, name: str) -> str:
    """Explain a setting of a group whose default is none: its other options, and which of them have the setting."""
    options = [path for path in sorted((CONF / group).glob("*.yaml")) if "_target_" in OmegaConf.load(path)]
    settings = {path.stem: _keys(OmegaConf.load(path), "") for path in options}
    having = [option for option, keys in settings.items() if name in keys]
    if having:
        return f"{group}.{name} is a setting of {group}={', '.join(having)}; choose one of these"
    near = near_names(name, {key for keys in settings.values() for key in keys})
    return f"unknown setting {f'{group}.{name}'!r}" + (
        ask_for([f"{group}.{key}" for key in near]) or f"; options of {group}: {', '.join(settings)}"
    )


def _groups() -> list[str]:
    return [path.name for path in CONF.iterdir() if path.is_dir()]


def _keys(node: Any, prefix: str) -> list[str]:
    """Return the dotted keys below a node, also those that the yaml leaves at their default."""
    if not isinstance(node, DictConfig):
        return []
    found = []
    target = str(node.get("_target_"))
    if target.startswith(("clinlm.", "callbacks.")):
        found += [
            f"{prefix}{name}" for name in parameters(target) if name not in node.keys()
        ]  # `in node` would resolve interpolations
    for name in map(str, node):
        if not name.startswith("_"):
            found.append(f"{prefix}{name}")
        if not (OmegaConf.is_interpolation(node, name) or OmegaConf.is_missing(node, name)):
            found += _keys(node[name], f"{prefix}{name}.")
    return found
