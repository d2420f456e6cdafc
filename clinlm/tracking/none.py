"""No logging."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from clinlm.tracking.base import RunLogger, TrackedRun

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger


@final
class NullLogger(RunLogger):
    """No curves and no tables, beyond the report that every pipeline writes."""

    def stage(self, name: str, key: str, folder: Path, settings: Mapping[str, Any]) -> "Logger | None":
        return None

    def stage_done(self, report: Mapping[str, Any]) -> None:
        pass

    def publish(self, run: TrackedRun) -> None:
        pass
