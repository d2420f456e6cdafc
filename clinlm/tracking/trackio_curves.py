"""The curves of a stage, for a run of Trackio."""

from argparse import Namespace
from collections.abc import Mapping
from typing import Any, final

from lightning.pytorch.loggers import Logger


@final
class TrackioCurves(Logger):
    """Gives the curves of a stage to a run of Trackio."""

    def __init__(self, run: Any) -> None:
        super().__init__()
        self.run = run

    @property
    def name(self) -> str:
        """The project."""
        return str(self.run.project)

    @property
    def version(self) -> str:
        """The run."""
        return str(self.run.name)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers of a step."""
        self.run.log(dict(metrics), step=step)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *given: Any, **named: Any) -> None:
        """Log nothing: settings are given when a run begins."""
