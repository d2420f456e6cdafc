"""Checks of the settings that decide which splits a command sees: `resplits`, `nested`, `task.seed`."""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from clinlm.config.errors import ConfigError


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
