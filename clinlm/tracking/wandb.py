"""Weights & Biases: one run per stage, one run per pipeline."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, final

import polars as pl
from lightning.pytorch.loggers import Logger, WandbLogger

from clinlm.config.errors import ConfigError
from clinlm.tracking.base import RunLogger


@final
class Wandb(RunLogger):
    """Runs whose id is the artifact key, grouped by sweep, and a small run with the table of every pipeline.

    Args:
        project: of the dashboard.
        group: name of the sweep, which groups its runs.
        folder: where offline runs are kept until `wandb sync`.
        mode: `offline` writes files and opens no connection; `online` sends numbers, settings and names to the server
            of the account that `wandb login` set up. Nothing leaves the machine without `online`.

    Raises:
        ConfigError: another mode, or `online` without a login.
    """

    def __init__(
        self,
        project: str = "clinlm",
        group: str | None = None,
        folder: str = "outputs",
        mode: Literal["offline", "online"] = "offline",
    ) -> None:
        if mode not in ("offline", "online"):
            raise ConfigError(f"logger.mode must be offline or online, got {mode!r}")
        self.project, self.group, self.folder, self.mode = project, group, folder, mode
        self._stage: WandbLogger | None = None
        # wandb sends its own errors to its developers by default, and an error may hold data.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        if mode == "online":
            _require_login()

    def stage(self, name: str, key: str, folder: Path, settings: Mapping[str, Any]) -> Logger | None:
        self._stage = self._run(name, key, "stage", settings)
        return self._stage

    def stage_done(self, report: Mapping[str, Any]) -> None:
        if self._stage is None:
            raise RuntimeError("stage_done() must follow stage()")
        numbers = {name: value for name, value in report.items() if isinstance(value, int | float)}
        self._stage.experiment.summary.update(numbers)
        self._close(self._stage)
        self._stage = None

    def table(self, name: str, table: pl.DataFrame, settings: Mapping[str, Any], folder: Path) -> None:
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
        logged_in, why = wandb.login(prompt=False, verify=False), "no login"
    except wandb.errors.Error as error:
        logged_in, why = False, str(error)
    if not logged_in:
        raise ConfigError(
            f"logger.mode=online needs an account, got {why}; run `wandb login`, or keep mode=offline and send the "
            "runs later with `wandb sync`"
        )
