"""Refuses what a user chose and nothing reads, and names what would read it."""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from clinlm.config.errors import ConfigError
from clinlm.config.near_names import did_you_mean
from clinlm.config.usage import ENSEMBLE, REFERENCE, is_read, left_out, read_settings, setting_of, unread
from clinlm.config.validation import CONF

_PARTS = ("experiment", "hydra", "module", "published", "stage", "sweep")
"""Groups that are parts of others: no user chooses one of their options so that a setting is read."""


def refuse_unread(*jobs: tuple[Sequence[str], DictConfig]) -> None:
    """Raise if a setting that a user chose is read neither by a stage nor by the task, the report or the logger.

    Args:
        jobs: the only one of a run, or all of a sweep, of which one has to read a setting: what the user chose, as
            typed, and the configuration.

    Raises:
        ConfigError: it is not; the message names what reads the setting, or the nearest that there is.
    """
    typed = dict.fromkeys(override for overrides, _ in jobs for override in overrides)
    used = {override for overrides, config in jobs for override in {*overrides} - {*unread(config, overrides)}}
    idle = [override for override in typed if override not in used]
    if not idle:
        return
    config = next(config for overrides, config in jobs if idle[0] in overrides)
    paths = [path for path in (setting_of(override, config) for override in idle) if path is not None]
    names = list(dict.fromkeys(path.partition(".")[0] for path in paths))
    known = _known()
    for name in names:
        if name not in known and not readers(name):
            raise ConfigError(f"unknown setting {name!r}{did_you_mean(name, known) or '; remove it'}")
    stages = ", ".join(str(name) for name in config.stages if name not in left_out(config))
    nothing = f"nothing in this run (stages {stages})" if len(jobs) == 1 else "no job of this sweep"
    remedies = [_remedy(name, [path for path in paths if path.partition(".")[0] == name], config) for name in names]
    them = "it" if len(idle) == 1 else "them"
    raise ConfigError(f"{nothing} reads {', '.join(idle)}; {'; '.join(dict.fromkeys(remedies))}; or remove {them}")


def _remedy(name: str, paths: Sequence[str], config: DictConfig) -> str:
    """Return what to choose so that the settings `paths`, whose root is `name`, are read."""
    if any(is_read(path, read_settings(config)) for path in paths):
        absent = left_out(config).items()
        return " and ".join(f"{method}=none leaves out stage {stage}: choose another" for stage, method in absent)
    found = readers(name)
    return f"{name} is read with {' or '.join(found)}: choose one" if found else f"no pipeline reads {', '.join(paths)}"


@cache
def readers(name: str) -> tuple[str, ...]:
    """Return the choices that read a setting at the root of the configuration: "pipeline=b, c", "task=entities"."""
    found = []
    for group in sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name not in _PARTS):
        options = [path.stem for path in sorted((CONF / group).glob("*.yaml")) if _reads(path, name)]
        if options:
            found.append(f"{group}={', '.join(options)}")
    return tuple(sorted(found, key=lambda choice: not choice.startswith("pipeline=")))


def _reads(path: Path, name: str) -> bool:
    names = _names(path)
    return name in names and (name != ENSEMBLE or "members" in names)


@cache
def _names(path: Path) -> frozenset[str]:
    """Return the names at the root that a yaml, and the yamls of its defaults list, refer to."""
    loaded = OmegaConf.load(path)
    assert isinstance(loaded, DictConfig)
    text = OmegaConf.to_yaml(loaded)
    found = {name.partition(".")[0] for name in REFERENCE.findall(text) if not name.startswith(".")}
    found |= {f"{loaded.role}_adapter"} if "role" in loaded else set()  # stage/fit.yaml: ${.role}_adapter
    for line in loaded.get("defaults", []):
        place, options = next(iter(line.items())) if isinstance(line, DictConfig) else (path.parent.name, line)
        group = re.sub(r"^(override )?/?|@.*$", "", str(place))
        for option in [options] if isinstance(options, str) else options or []:
            if option != "_self_":
                found |= _names(CONF / group / f"{option}.yaml")
    return frozenset(found)


def _known() -> list[str]:
    """Return the names at the root of the configuration: settings and slots."""
    primary = OmegaConf.load(CONF / "config.yaml")
    lines = [line for line in primary.defaults if isinstance(line, DictConfig)]
    slots = [str(slot).rpartition("@")[2] for line in lines for slot in line if not str(slot).startswith("override ")]
    return [*slots, *(str(name) for name in primary if name not in ("defaults", "hydra")), "stages"]
