"""Checks of the settings that decide which splits a command sees: `resplits`, `nested`, `task.seed`."""

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from clinlm.config.errors import ConfigError
from clinlm.config.settings import plain
from clinlm.config.targets import instantiate


def refuse_opening(config: DictConfig) -> None:
    """Raise if a setting would open test although `nested` keeps it closed.

    Raises:
        ConfigError: `nested` is no truth value; or with it, a gate decides by test, or `resplits` asks for reports.
    """
    nested: Any = config.nested
    if type(nested) is not bool:
        raise ConfigError(f"nested must be true or false, got {nested}")
    if nested and OmegaConf.select(config, "gate.split") == "test":
        raise ConfigError("nested=true never opens test, got gate.split=test; set gate.split=validation")
    if nested and config.resplits != 1:
        raise ConfigError(
            f"nested=true chooses on one split, and resplits={config.resplits} reports on others; choose first, then "
            "run the command that it prints"
        )


def check_splits(configs: Sequence[DictConfig]) -> int:
    """Return `resplits` of a sweep, from the configurations of its jobs.

    Raises:
        ConfigError: jobs have several values of `resplits` or `nested`; or `resplits` is below 1; or it is above 1 and
            jobs begin at several splits, or the corpus of one defines its split.
    """
    for name in ("resplits", "nested"):
        values = list(dict.fromkeys(str(config.get(name)) for config in configs))
        if len(values) > 1:
            raise ConfigError(f"{name} must have one value in a sweep, got {', '.join(values)}; run a sweep for each")
    count: Any = configs[0].get("resplits", 1)
    if type(count) is not int or count < 1:
        raise ConfigError(f"resplits must be a whole number >= 1, got {count}")
    if count > 1:
        firsts = list(dict.fromkeys(first_split(config) for config in configs))
        if len(firsts) > 1:
            raise ConfigError(
                f"resplits={count} counts splits from one task.seed, got {', '.join(map(str, firsts))}; set task.seed "
                "to the first"
            )
        tasks = {str(settings): settings for settings in (plain(config.task) for config in configs)}
        for settings in tasks.values():
            refuse_fixed_split(settings, count)
    return count


def first_split(config: DictConfig) -> int:
    """Return `task.seed`, which the split is drawn by."""
    return int(OmegaConf.select(config, "task.seed", default=0) or 0)


def refuse_fixed_split(settings: dict[str, Any], count: int) -> None:
    """Raise if the corpus of a task defines its split: it would be the same every time. The corpus is read.

    Args:
        settings: of the task.
        count: splits that were asked for.

    Raises:
        ConfigError: it does.
    """
    if has_fixed_split(settings):
        raise ConfigError(
            f"resplits={count} draws train, validation and test anew, but the corpus of this task defines its split; "
            "remove resplits, or read a corpus without one (of your own table: one file, and task.corpus.split=null)"
        )


def has_fixed_split(settings: dict[str, Any]) -> bool:
    """Return whether the corpus of a task, which is read for it, defines train and test."""
    found: bool = instantiate(settings["corpus"], root=settings["root"])().records().splits is not None
    return found


def refuse_resplits(configs: Sequence[DictConfig]) -> None:
    """Raise if an optimising sweep is to see several splits, or only some of its trials are nested.

    Raises:
        ConfigError: it is.
    """
    if any(config.get("resplits", 1) != 1 for config in configs):
        raise ConfigError(
            "an optimising sweep chooses, so it must not see the splits that a result is reported on, got resplits="
            f"{configs[0].resplits}; remove it, set nested=true, and run the command that is printed at the end"
        )
    if len({config.get("nested", False) for config in configs}) > 1:
        raise ConfigError("nested must have one value in a sweep, got true and false; run a sweep for each")


def refuse_several(config: DictConfig) -> None:
    """Raise if a single run is to see several splits: only a sweep does.

    Raises:
        ConfigError: it is; a yaml asked for it, as the command line becomes that of a sweep.
    """
    if config.get("resplits", 1) != 1:
        raise ConfigError(f"resplits={config.resplits} needs a sweep, got a single run; type clinlm -m …")
