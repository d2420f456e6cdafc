"""What every logger promises."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from lightning.pytorch.loggers import Logger


class RunLogger(ABC):
    """Where the curves of stages and the table of a pipeline go."""

    @abstractmethod
    def stage(self, name: str, key: str, folder: Path, settings: Mapping[str, Any]) -> Logger | None:
        """Return Lightning's logger for a stage that is about to be built, or None."""

    @abstractmethod
    def stage_done(self, report: Mapping[str, Any]) -> None:
        """Log the report of the stage that was built last, and close its run."""

    @abstractmethod
    def table(self, name: str, table: pl.DataFrame, settings: Mapping[str, Any], folder: Path) -> None:
        """Log the table of all stages, cached or not."""
