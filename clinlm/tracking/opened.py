"""Opens the logger that a configuration names: one of ours, or any of Lightning's by its class."""

from collections.abc import Mapping
from typing import Any

from clinlm.config.errors import ConfigError
from clinlm.config.targets import find_target
from clinlm.tracking.base import RunLogger


def open_logger(settings: Mapping[str, Any]) -> RunLogger:
    """Return the logger of `settings`, a mapping with `_target_`: a `RunLogger`, or a `Logger` of Lightning.

    Raises:
        ConfigError: the class is neither.
    """
    kind = find_target(str(settings.get("_target_")))
    if issubclass(kind, RunLogger):
        made: RunLogger = kind(**{name: value for name, value in settings.items() if not name.startswith("_")})
        return made
    from lightning.pytorch.loggers import Logger

    from clinlm.tracking.lightning_logger import LightningLogger

    if issubclass(kind, Logger):
        return LightningLogger(settings)
    raise ConfigError(f"logger must be a RunLogger or a Logger of Lightning, got {kind.__name__}")
