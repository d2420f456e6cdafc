"""What configuration can compute: `${best_precision:}`, `${interactive:}`, `${run_group:}`, `${subsets:a,b}`, …"""

import os
from contextlib import suppress
from datetime import datetime
from itertools import chain, combinations, count
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from clinlm.config.console import interactive
from clinlm.config.errors import ConfigError
from clinlm.config.overrides import accept_parameters, accept_roles
from clinlm.config.runtime import best_precision

# Wherever a configuration is composed, resolvers are needed: in this process, in a launcher's, in a test.
accept_parameters()
accept_roles()

_made: list[Path] = []
"""Folders that `own_folder` made in this process."""


def register_resolvers() -> None:
    """Make the resolvers known to OmegaConf; may be called again."""
    for resolver in (best_precision, interactive, of_split, run_group, subsets):
        OmegaConf.register_new_resolver(resolver.__name__, resolver, replace=True)
    # With a cache, which Hydra hands to the jobs of a sweep: one folder for all who read the setting.
    OmegaConf.register_new_resolver(own_folder.__name__, own_folder, replace=True, use_cache=True)


def own_folder(parent: str) -> str:
    """Make a folder in `parent` that no other process has, and return its path.

    Its name is the second of its start, `2026-11-29_23-27-21`; with `-2`, `-3`, … where the name is taken.

    Raises:
        ConfigError: a folder cannot be made there.
    """
    name = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    try:
        for ending in chain([""], (f"-{number}" for number in count(2))):
            folder = Path(parent, name + ending)
            with suppress(FileExistsError):
                folder.mkdir(parents=True)  # the last step is atomic: of two processes, one makes it
                _made.append(folder.absolute())
                break
    except OSError as error:
        raise ConfigError(
            f"{parent} must be a folder that you may write to, got {error.strerror}; start elsewhere, or "
            "set hydra.run.dir (of a sweep: hydra.sweep.dir)"
        ) from error
    return str(folder)


def made_folders() -> tuple[Path, ...]:
    """Return the folders that `own_folder` made in this process."""
    return tuple(_made)


def run_group() -> str | None:
    """Return the name of the sweep that this run is part of, or None."""
    config = HydraConfig.get()
    return os.path.basename(config.sweep.dir) if config.mode == RunMode.MULTIRUN else None


def of_split(resplits: int, seed: int) -> str:
    """Return what ends the name of a job's folder: "-split3" where a sweep repeats its jobs on several splits."""
    return f"-split{seed}" if resplits != 1 else ""


def subsets(*names: str) -> str:
    """Return every non-empty subset of `names` as Hydra's list of values, smallest first: "[a],[b],[a,b]".

    A sweep writes `labeler.use: ${subsets:ontology,llm,human}`.

    Raises:
        ConfigError: no name, or one twice.
    """
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"names must be unique and at least one, got {', '.join(names) or 'none'}; correct subsets:")
    chosen = [some for size in range(1, len(names) + 1) for some in combinations(names, size)]
    return ",".join(f"[{','.join(some)}]" for some in chosen)
