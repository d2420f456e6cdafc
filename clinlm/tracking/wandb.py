"""Weights & Biases: a run for every stage, pipeline and sweep, and the artifacts that they make and use."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

from lightning.pytorch.loggers import Logger, WandbLogger

from clinlm.config.errors import ConfigError
from clinlm.tracking.base import Announcement, RunLogger, TrackedRun
from clinlm.tracking.curves import Curves, attempted, harmless
from clinlm.tracking.wandb_agent_run import AgentRun, take_agent_run
from clinlm.tracking.wandb_content import attempt_id, fill, quiet_settings, staging

if TYPE_CHECKING:
    import wandb

log = logging.getLogger(__name__)


@final
class Wandb(RunLogger):
    """Runs on the dashboard. Their id is the name, the key and the attempt, so that no run is ever continued.

    A stage's run opens when its training begins, and ends with the report of its pipeline, which measures its quality;
    a reused stage gets a run of its own. Where the server does not answer, one warning says so, and this and all later
    runs of the process are kept offline: no failure stops a training, and nothing is lost.

    Under a W&B agent (`clinlm agent`), the run that the agent asked for is that of the pipeline.

    Args:
        project: of the dashboard.
        group: name of the sweep, which groups its runs; under an agent without one that of the agent's sweep.
        folder: where runs are kept; those of mode `offline` until `wandb sync`.
        mode: `offline` writes files and opens no connection; `online` sends numbers, settings and names to the server
            of the account that `wandb login` set up. Nothing leaves the machine without `online`.
        entity: team or user on the dashboard; None for the account's own.
        upload: whether artifacts have the files of models, or their names and digests only. A tokenizer that was
            trained on notes has words of them.
        timeout_s: seconds that the server has to open a run, and to take the rest of it at the end.

    Raises:
        ConfigError: another mode or upload, or `online` without a login.
    """

    def __init__(
        self,
        project: str = "clinlm",
        group: str | None = None,
        folder: str = "outputs",
        mode: Literal["offline", "online"] = "offline",
        entity: str | None = None,
        upload: Literal["digests", "models"] = "digests",
        timeout_s: float = 30.0,
    ) -> None:
        if mode not in ("offline", "online"):
            raise ConfigError(f"logger.mode must be offline or online, got {mode!r}")
        if upload not in ("digests", "models"):
            raise ConfigError(f"logger.upload must be digests or models, got {upload!r}")
        self.project, self.group, self.folder, self.mode = project, group, folder, mode
        self.entity, self.upload, self.timeout_s = entity, upload, timeout_s
        self._open: dict[str, wandb.Run] = {}
        # Copies of what it sends, and its logs, are else in the user's home.
        for name, place in {"WANDB_DATA_DIR": "data", "WANDB_CACHE_DIR": "cache"}.items():
            os.environ.setdefault(name, str(Path(folder).absolute() / "wandb" / place))
        with staging(folder):
            self._agent_run = take_agent_run()
        if mode == "online":
            _require_login(timeout_s)

    def announce(self, stages: Mapping[str, Announcement]) -> None:
        super().announce(stages)
        if self._agent_run is not None:  # the agent's server waits for it from the first minute
            self._start("pipeline", "pipeline", "", self._agent_run.settings)

    def stage(self, name: str, key: str, folder: Path, settings: Mapping[str, Any]) -> Logger | None:
        known = self.announced.get(name, Announcement(name, {"stage": name}, ""))
        run = self._start("stage", known.name, key, {**known.settings, "key": key}, known.command)
        return None if run is None else Curves([WandbLogger(experiment=run)])

    def stage_done(self, report: Mapping[str, Any]) -> None:
        """Take nothing: the run stays open until its quality is known."""

    def publish(self, run: TrackedRun) -> None:
        def send() -> None:
            place = _place(run.kind, run.key)
            if place not in self._open:
                self._start(run.kind, run.name, run.key, run.settings, run.command)
            own = self._open.pop(place, None)
            if own is not None:
                with staging(self.folder):
                    fill(own, run, self.upload == "models")
                own.finish()

        try:
            send()
        except Exception as error:
            if self.mode == "online":  # what was open is lost to this process, with all that it had logged on disk
                self._go_offline(error)
                harmless("wandb", wandb_again)
            harmless("wandb", send)

    def _start(
        self, kind: str, name: str, key: str, settings: Mapping[str, Any], command: str = ""
    ) -> "wandb.Run | None":
        """Open a run, offline where the server does not answer; None where that fails, too."""
        agent = self._agent_run if kind == "pipeline" else None
        if self.mode == "online":
            try:
                return self._init(kind, name, key, settings, command, agent)
            except Exception as error:
                self._go_offline(error)
        return attempted("wandb", lambda: self._init(kind, name, key, settings, command, agent))

    def _init(
        self, kind: str, name: str, key: str, settings: Mapping[str, Any], command: str, agent: AgentRun | None
    ) -> "wandb.Run":
        import wandb

        run = wandb.init(
            name=name,
            id=agent.run_id if agent else attempt_id(name, key),
            project=agent.project if agent and agent.project else self.project,
            entity=agent.entity if agent and agent.entity else self.entity,
            group=self.group or (self._agent_run.sweep_id if self._agent_run else None),
            job_type=kind,
            dir=self.folder,
            config=dict(settings) | dict(agent.settings if agent else {}),
            notes=command or None,
            mode="online" if self.mode == "online" else "offline",
            reinit="create_new",  # stages stay open until the report, side by side
            settings=quiet_settings(
                self.timeout_s if self.mode == "online" else None, agent.sweep_id if agent else None
            ),
        )
        # The columns of all runs are the same: the last values of curves are not among them.
        if kind == "stage":
            run.define_metric("trainer/global_step", summary="none", hidden=True)
            run.define_metric("*", step_metric="trainer/global_step", step_sync=True, summary="none")
        else:  # pages and pictures, of no step
            run.define_metric("*", summary="none")
        self._open[_place(kind, key)] = run
        return run

    def _go_offline(self, error: Exception) -> None:
        self.mode = "offline"
        self._open.clear()
        log.warning(
            "W&B did not take a run (%s: %s): from here all runs are kept offline in %s; send them later with "
            "`wandb sync %s/wandb/offline-run-*`",
            type(error).__name__,
            " ".join(str(error).split())[:300],
            self.folder,
            self.folder,
        )


def _place(kind: str, key: str) -> str:
    """Return what tells open runs apart; there is one pipeline at a time."""
    return f"stage {key}" if kind == "stage" else kind


def wandb_again() -> None:
    """End the process of wandb behind this one, which may have died; the next run begins another."""
    import wandb

    wandb.teardown()


def _require_login(timeout_s: float) -> None:
    """Raise unless there is an account; nothing is printed, and the server is not asked whether it exists."""
    import wandb

    wandb.setup(quiet_settings(timeout_s))
    try:
        logged_in, why = wandb.login(prompt=False, verify=False), "no login"
    except wandb.errors.Error as error:
        logged_in, why = False, str(error)
    if not logged_in:
        raise ConfigError(
            f"logger.mode=online needs an account, got {why}; run `wandb login`, or keep mode=offline and send the "
            "runs later with `wandb sync`"
        )
