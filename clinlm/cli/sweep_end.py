"""Hydra's callback that runs another at the end of a sweep."""

from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from clinlm.config.targets import find_target


class SweepEnd(Callback):
    """Runs another callback when a sweep ends, and imports it only then: reports need torch, which takes seconds.

    Args:
        callback: dotted name of its class.
    """

    def __init__(self, callback: str) -> None:
        self.callback = callback

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Make the callback and call its method of the same name."""
        find_target(self.callback)().on_multirun_end(config, **kwargs)
