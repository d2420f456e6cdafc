"""The run that a W&B agent asked for: taken out of the environment, where every run of the process would read it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_SWEEP, _RUN, _SETTINGS = "WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"


@dataclass(frozen=True)
class AgentRun:
    """A run of a W&B sweep.

    Attributes:
        settings: that the sweep chose for it.
    """

    sweep_id: str
    run_id: str
    entity: str | None
    project: str | None
    settings: Mapping[str, Any]


def take_agent_run() -> AgentRun | None:
    """Return the run that the agent around this process asked for, and take it out of the environment; None for none.

    wandb gives its id to every run of a process otherwise, and stages have runs of their own.
    """
    if _SWEEP not in os.environ or _RUN not in os.environ:
        return None
    sweep, run, path = (os.environ.pop(name, "") for name in (_SWEEP, _RUN, _SETTINGS))
    chosen: dict[str, Any] = {}
    if path and Path(path).is_file():
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
        chosen = {name: own["value"] for name, own in content.items() if isinstance(own, dict) and "value" in own}
    entity, project = (os.environ.get(name) for name in ("WANDB_ENTITY", "WANDB_PROJECT"))
    return AgentRun(sweep, run, entity, project, chosen)
