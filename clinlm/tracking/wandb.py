"""Weights & Biases: one run a stage, one run a pipeline."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, final

import polars as pl
from lightning.pytorch.loggers import Logger, WandbLogger

from clinlm.tracking.base import RunLogger


@final
class Wandb(RunLogger):
    """Runs named by artifact key, grouped by sweep, and a small run with the table of every pipeline.

    Args:
        project: of the dashboard.
        group: of the runs; the sweep, so that its pipelines stand together.
        folder: where offline runs are kept until `wandb sync`.
        mode: `offline` writes files and opens no connection; `online` sends numbers, settings and names to the server
            of the account that `wandb login` set up. Nothing leaves the machine unless the user asks for it here.

    Raises:
        RuntimeError: `online` without being logged in.
    """

    def __init__(
        self,
        project: str = "clinlm",
        group: str | None = None,
        folder: str = "outputs",
        mode: Literal["offline", "online"] = "offline",
    ) -> None:
        if mode not in ("offline", "online"):
            raise ValueError(f"logger.mode is offline or online; got {mode!r}")
        self.project, self.group, self.folder, self.mode = project, group, folder, mode
        self._stage: WandbLogger | None = None
        # wandb reports its own errors to its makers unless told not to, and an error may hold what was worked on.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        if mode == "online":
            _require_login()

    def stage(self, name: str, key: str, folder: Path, settings: Mapping[str, Any]) -> Logger | None:
        """See `RunLogger.stage`."""
        self._stage = self._run(name, key, "stage", settings)
        return self._stage

    def stage_done(self, report: Mapping[str, Any]) -> None:
        """See `RunLogger.stage_done`."""
        if self._stage is None:
            raise RuntimeError("a stage is reported after it was begun")
        numbers = {name: value for name, value in report.items() if isinstance(value, int | float)}
        self._stage.experiment.summary.update(numbers)
        self._close(self._stage)
        self._stage = None

    def table(self, name: str, table: pl.DataFrame, settings: Mapping[str, Any], folder: Path) -> None:
        """See `RunLogger.table`."""
        import wandb

        run = self._run(name, None, "pipeline", settings)
        run.experiment.log({"table": wandb.Table(columns=[*table.columns], data=[list(row) for row in table.rows()])})
        for row in table.iter_rows(named=True):
            numbers = {f"{row['name']}/{k}": v for k, v in row.items() if isinstance(v, int | float)}
            run.experiment.summary.update(numbers)
        self._close(run)

    def _run(self, name: str, key: str | None, kind: str, settings: Mapping[str, Any]) -> WandbLogger:
        import wandb

        quiet = wandb.Settings(console="off", silent=True, save_code=False, disable_git=True, x_disable_stats=True)
        Path(self.folder).mkdir(parents=True, exist_ok=True)
        return WandbLogger(
            name=name,
            id=key,
            project=self.project,
            group=self.group,
            job_type=kind,
            save_dir=self.folder,
            offline=self.mode == "offline",
            config=dict(settings),
            settings=quiet,
            log_model=False,
        )

    def _close(self, run: WandbLogger) -> None:
        run.experiment.finish()


def _require_login() -> None:
    import wandb

    try:
        logged_in, why = wandb.login(prompt=False, verify=False), "nobody is logged in"
    except wandb.errors.Error as error:
        logged_in, why = False, str(error)
    if not logged_in:
        raise RuntimeError(
            f"logger.mode=online sends to the account of `wandb login`; {why}; log in, or leave mode=offline and send "
            "the runs later with `wandb sync`"
        )
