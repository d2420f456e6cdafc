"""Several loggers side by side."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from lightning.pytorch.loggers import Logger

from clinlm.tracking.base import Announcement, RunLogger, TrackedRun
from clinlm.tracking.curves import Curves
from clinlm.tracking.opened import open_logger


@final
class Many(RunLogger):
    """Gives every stage, pipeline and sweep to several loggers.

    Args:
        loggers: settings of each, by a name of one's choice.
    """

    def __init__(self, loggers: Mapping[str, Mapping[str, Any]]) -> None:
        self.loggers = [open_logger(settings) for settings in loggers.values() if settings is not None]

    def announce(self, stages: Mapping[str, Announcement]) -> None:
        for own in self.loggers:
            own.announce(stages)

    def stage(self, name: str, key: str, folder: Path, settings: Mapping[str, Any]) -> Logger | None:
        made = [own.stage(name, key, folder, settings) for own in self.loggers]
        present = [own for own in made if own is not None]
        return Curves(present) if present else None

    def stage_done(self, report: Mapping[str, Any]) -> None:
        for own in self.loggers:
            own.stage_done(report)

    def publish(self, run: TrackedRun) -> None:
        for own in self.loggers:
            own.publish(run)
