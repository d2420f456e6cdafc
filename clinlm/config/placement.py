"""Checks of where stages train: the devices and the strategy of `trainer`."""

import os
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from clinlm.config.errors import ConfigError
from clinlm.config.settings import plain

STRATEGIES = ("auto", "ddp")
_LAUNCHED = ("TORCHELASTIC_RUN_ID", "OMPI_COMM_WORLD_RANK")
"""Variables of the processes that torchrun and mpirun start."""


def is_distributed(trainer: Mapping[str, Any]) -> bool:
    """Return whether the settings of a trainer ask for the strategy `ddp`, or for more devices than one."""
    return trainer.get("strategy", "auto") != "auto" or count_devices(trainer) != 1


def count_devices(trainer: Mapping[str, Any]) -> int | None:
    """Return how many devices the settings of a trainer name; None where that depends on the machine."""
    devices = trainer.get("devices", 1)
    if isinstance(devices, list | tuple):
        return len(devices)
    if isinstance(devices, str) and "," in devices:  # Lightning's list of indices
        return len([index for index in devices.split(",") if index.strip()])
    if isinstance(devices, int | str) and str(devices).isdecimal():
        return int(devices)
    return None


def check_placement(config: DictConfig) -> None:
    """Check that stages can train where `trainer` says, before anything is built.

    Raises:
        ConfigError: a strategy, or several nodes, that clinlm does not start; more devices than a batch has documents.
    """
    trainer = plain(config.trainer)
    strategy, devices, nodes = trainer.get("strategy", "auto"), count_devices(trainer), trainer.get("num_nodes", 1)
    if strategy not in STRATEGIES:
        raise ConfigError(
            f"trainer.strategy must be one of {', '.join(STRATEGIES)}, got {strategy}: clinlm starts the processes "
            "itself, and each holds the whole model, as compression needs; set trainer=ddp"
        )
    if nodes != 1:
        raise ConfigError(
            f"trainer.num_nodes must be 1, got {nodes}: one machine trains a stage, on as many of its devices as "
            "trainer.devices says; machines can share a sweep (hydra/launcher=submitit_slurm)"
        )
    launched = [name for name in _LAUNCHED if name in os.environ]
    if launched or os.environ.get("SLURM_PROCID", "0") != "0":
        raise ConfigError(
            f"clinlm must be started once and starts a process for every device itself, got "
            f"{(launched or ['SLURM_PROCID'])[0]}, that of a process of several; start it without torchrun, mpirun or "
            "srun -n, with trainer=ddp"
        )
    if not is_distributed(trainer) or devices is None:
        return
    for name in config.stages:
        size = OmegaConf.select(config, f"stages.{name}.batch_size")
        if type(size) is int and size < devices:
            raise ConfigError(
                f"batch_size counts the documents of all devices together, so it must be >= {devices}, the number of "
                f"trainer.devices, got {size} in stage {name!r}"
            )
