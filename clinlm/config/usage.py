"""What a pipeline reads of its configuration: followed through interpolations, without building anything."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from clinlm.config.overrides import respelled

_READ_BY_CODE = (
    *("task", "external", "report", "logger", "gate", "device", "monitor", "seed", "store", "staging", "upload"),
    *("resplits", "nested", "allow"),
    *("margin", "margin_metric"),
)
"""Settings at the root that the code reads by name; all others are read where something refers to them."""
REFERENCE = re.compile(r"\$\{(\.*[^\W\d][^${}:,\s]*+)(?!:)")
"""An interpolation of a setting, not of a resolver; its group is the name, with the dots of a relative one."""
_SELECT = re.compile(r"\$\{oc\.select:((?:[^${},]|\$\{[^${}]*\})+)(?:,((?:[^{}]|\{[^{}]*\})*))?\}")
"""`${oc.select:KEY,DEFAULT}`, where KEY may hold interpolations."""
ENSEMBLE = "ensemble"
"""The setting of a stage that is read where it has several teachers."""


def left_out(config: DictConfig) -> dict[str, str]:
    """Return the stages whose `method` is null (`quantize=none`), and the callback that it names.

    `method` is the callback that a stage exists for. Any other callback that is null is merely absent.
    """
    found = {}
    for name in map(str, config.stages or {}):
        method = config.stages[name].get("method")
        if method is not None and OmegaConf.select(config, f"stages.{name}.callbacks.{method}") is None:
            found[name] = str(method)
    return found


def read_settings(config: DictConfig, without: Sequence[str] = ()) -> frozenset[str]:
    """Return the dotted paths that a pipeline reads, each with all that is below it.

    They are the stages, what the code reads by name, and whatever these refer to, at any remove.

    Args:
        without: stages that are left out.
    """
    raw: Any = OmegaConf.to_container(config, resolve=False)
    waiting = [name for name in _READ_BY_CODE if name in raw]
    several = _several_teachers(config, without)
    for name, stage in (raw.get("stages") or {}).items():
        if name not in without:
            waiting += [f"stages.{name}.{key}" for key in stage if key != ENSEMBLE or name in several]
    found: set[str] = set()
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += references(raw, path)
    return frozenset(found)


def references(raw: Any, path: str = "") -> Iterator[str]:
    """Yield the paths that the interpolations at or below `path` refer to.

    Args:
        raw: nested mappings and lists, interpolations as text.
    """
    node = raw
    for key in _keys(path):
        node = node[int(key)] if isinstance(node, list) else node[key]
    if isinstance(node, str):
        for reference in REFERENCE.findall(_SELECT.sub(lambda found: _selected(raw, path, found), node)):
            if target := _existing(raw, _target(path, reference))[0]:
                yield target
    elif isinstance(node, dict | list):
        for key in map(str, node if isinstance(node, dict) else range(len(node))):
            yield from references(raw, f"{path}.{key}" if path else key)


def is_read(path: str, read: frozenset[str]) -> bool:
    """Return whether a setting, or a part of it, is among those that are read."""
    return any(f"{path}.".startswith(f"{own}.") or own.startswith(f"{path}.") for own in read)


def used_settings(config: DictConfig) -> DictConfig:
    """Return the configuration without what the pipeline does not read; interpolations stay as they are."""
    read = read_settings(config, [*left_out(config)])
    used = OmegaConf.create(only_read(OmegaConf.to_container(config, resolve=False), read))
    assert isinstance(used, DictConfig)
    return used


def only_read(node: Any, read: frozenset[str], path: str = "") -> Any:
    """Return those of nested mappings, which are at `path` of the configuration, that are among the settings read."""
    if path in read or not isinstance(node, dict):
        return node
    paths = {key: f"{path}.{key}" if path else str(key) for key in node}
    return {key: only_read(node[key], read, own) for key, own in paths.items() if is_read(own, read)}


def setting_of(override: str, config: DictConfig) -> str | None:
    """Return the path of the setting that an override sets, `prune=wanda` or `prune.ratio=0.6`.

    None for what sets no setting of its own: a deletion, a null, and a group whose options set others (`pipeline`,
    `experiment`, `sweep`).
    """
    parsed = OverridesParser.create().parse_override(respelled(override))
    path = parsed.package or parsed.key_or_group.replace("/", ".")
    if parsed.is_delete() or OmegaConf.select(config, path, throw_on_missing=False) is None:
        return None
    return path


def unread(config: DictConfig, overrides: Sequence[str]) -> list[str]:
    """Return those of `overrides` whose setting the pipeline does not read; none where there is no pipeline."""
    if "stages" not in config:
        return []
    read = read_settings(config, [*left_out(config)])
    paths = {override: setting_of(override, config) for override in overrides}
    return [override for override, path in paths.items() if path is not None and not is_read(path, read)]


def _several_teachers(config: DictConfig, without: Sequence[str]) -> set[str]:
    """Return the stages that have several teachers: `stages.NAME.teachers`, or the members of the latest teacher."""
    members: dict[str, int] = {}
    latest = 0
    several = set()
    for name in map(str, config.stages or {}):
        if name in without:
            continue
        own, teachers = (OmegaConf.select(config, f"stages.{name}.{key}") for key in ("members", "teachers"))
        members[name] = len(own) if own else 1
        if (sum(members.get(str(teacher), 1) for teacher in teachers) if teachers else latest) > 1:
            several.add(name)
        latest = members[name] if config.stages[name].role == "teacher" else latest
    return several


def _keys(path: str) -> list[str]:
    return [key for key in re.split(r"[.\[\]]", path) if key]


def _target(path: str, reference: str) -> list[str]:
    """Return the keys that a reference at `path` means; a leading dot is the mapping around it, two the next."""
    dots = len(reference) - len(reference.lstrip("."))
    return [*(_keys(path)[:-dots] if dots else []), *_keys(reference[dots:])]


def _selected(raw: Any, path: str, found: re.Match[str]) -> str:
    """Return `${KEY}` for what OmegaConf's `oc.select` finds at `path`, DEFAULT where there is nothing."""
    key = REFERENCE.sub(lambda own: str(_existing(raw, _target(path, own[1]))[1]), found[1]).replace("}", "")
    keys = _target(path, key)
    place, value = _existing(raw, keys)
    return f"${{{key}}}" if _keys(place) == keys and value is not None else found[2] or ""


def _existing(raw: Any, keys: Sequence[str]) -> tuple[str, Any]:
    """Return the path as far as it exists, and its value: what lies behind an interpolation is found from there."""
    found: list[str] = []
    node = raw
    for key in keys:
        if isinstance(node, list) and key.isdigit() and int(key) < len(node):
            node = node[int(key)]
        elif isinstance(node, dict) and key in node:
            node = node[key]
        else:
            break
        found.append(key)
    return ".".join(found), node
