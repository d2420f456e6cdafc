"""Curves as CSV, next to the artifact."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from clinlm.tracking.base import RunLogger, TrackedRun

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger


@final
class Csv(RunLogger):
    """Curves of every stage in its folder, `logs/attempt_N/metrics.csv`; a resumed stage starts a new attempt.

    The table is among the files that every pipeline writes (`table.csv`), so nothing is written twice.
    """

    def stage(self, name: str, key: str, folder: Path, settings: Mapping[str, Any]) -> "Logger | None":
        from lightning.pytorch.loggers import CSVLogger

        attempts = len(list((folder / "logs").glob("attempt_*")))
        return CSVLogger(folder, name="logs", version=f"attempt_{attempts}")

    def stage_done(self, report: Mapping[str, Any]) -> None:
        pass

    def publish(self, run: TrackedRun) -> None:
        pass
