"""Pipelines of tiny networks: composed from `conf/` as the command line does, run in this process, in seconds."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import hydra
import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from lightning import Callback, Trainer
from omegaconf import DictConfig, open_dict

from clinlm.config.resolvers import register_resolvers
from clinlm.config.validation import CONF
from clinlm.models.adapters.full import Full
from clinlm.models.artifact import Artifact, save
from clinlm.models.model import Model
from clinlm.pipeline import execution
from clinlm.pipeline.plan import plan
from clinlm.pipeline.results import StageResult
from clinlm.pipeline.stage import ModuleFactory, Stage
from clinlm.store.content import seal, write_json
from clinlm.tasks.base import Task
from clinlm.training.method_report import method_reports
from clinlm.training.modules.base import Module
from clinlm.training.modules.teacher import Teacher
from clinlm.training.optimizer import AdamW
from clinlm.training.teachers.trained import Trained

TINY = (
    "task=table",
    "task.corpus.id=id",
    "task.corpus.group=group",
    "task.labels=4",
    "task.max_tokens=32",
    "model@teacher=tiny",
    "teacher.vocabulary=150",
    "student.layers=1",
    "epochs=2",
    "batch_size=8",
    "precision=32-true",
    "trainer=cpu",
    "trainer.enable_progress_bar=false",
    "logger=none",
    "report.latency_documents=3",
    "report.latency_passes=1",
    "report.resamples=50",
)
EVERY_EPOCH = "training.every_epoch={_target_: callbacks.every_epoch.EveryEpoch}"
"""Predicts validation and test after every epoch."""
RATIO = 0.25
CPU = partial(Trainer, accelerator="cpu", devices=1, enable_progress_bar=False)
FAST = AdamW(1e-3, 1e-2, warmup=0.0)
TRAINING_STEP = Module.training_step
"""As it is when nothing kills it."""
Result = TypeVar("Result")


class Killed(BaseException):
    """Nothing catches it."""


def kill_after(patch: pytest.MonkeyPatch, steps: int) -> None:
    """Let training raise `Killed` after `steps` more steps."""
    step, left = TRAINING_STEP, iter(range(steps))

    def dying(self: Module, *given: Any) -> Any:
        if next(left, None) is None:
            raise Killed
        return step(self, *given)

    patch.setattr(Module, "training_step", dying)


def killed_until_done(
    run: Callable[[], Result], patch: pytest.MonkeyPatch, steps: int, most: int = 100
) -> tuple[int, Result]:
    """Call `run`, which is killed after every `steps` training steps, until it ends, at most `most` times.

    Returns:
        how often it was killed, and what it returned.
    """
    for kills in range(most):
        kill_after(patch, steps)
        try:
            return kills, run()
        except Killed:
            continue
    raise AssertionError("it never ended")


def factory(kind: type[Module], **arguments: Any) -> ModuleFactory:
    """Return what builds a module of this class and these arguments."""
    return ModuleFactory(kind, arguments)


LABELS = factory(Teacher, adapter=Full(), optimizer=FAST)


def composed(notes: Path, root: Path, *overrides: str) -> DictConfig:
    """Return the configuration of a pipeline of tiny networks on the table `notes` (columns id, group, text, labels).

    Hydra's own part is registered as a run would, with the output folder `run` beside the store `root`.
    """
    register_resolvers()
    places = (f"task.root={notes}", f"store={root}", f"hydra.run.dir={root.parent / 'run'}")
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("config", [*TINY, *places, *overrides], return_hydra_config=True)
    if "ratio" in config.prune and not any(one.startswith("prune.ratio=") for one in overrides):
        config.prune.ratio = RATIO  # of what is pruned by one, and not to a target
    with open_dict(config.hydra):
        config.hydra.runtime.output_dir = str(root.parent / "run")
    HydraConfig.instance().set_config(config)
    with open_dict(config):
        config.pop("hydra")
    return config


def finished(config: DictConfig) -> list[StageResult]:
    """Run the pipeline of `config`; what is in its store is reused."""
    task, key = execution.open_task(config)
    return execution.run_stages(config, plan(config), task, key, instantiate(config.logger))


def artifacts(done: list[StageResult]) -> dict[str, Artifact]:
    """Return the artifact of every stage by the stage's name."""
    return {one.name: one.artifact for one in done}


def weights(done: list[StageResult]) -> dict[str, bytes]:
    """Return the bytes of the weights of every stage."""
    return {one.name: (one.artifact.folder / "model.safetensors").read_bytes() for one in done}


def kept(model: Model, folder: Path, stage: str = "start") -> Artifact:
    """Write `model` as the artifact of a finished stage."""
    folder.mkdir(parents=True)
    save(model, folder)
    write_json(folder / "report.json", {})
    seal(folder, {"key": folder.name, "stage": stage})
    return Artifact(folder)


def reported(artifact: Artifact, callback: str) -> Any:
    """The typed rows that a callback of the stage reported."""
    return method_reports(artifact.report)[callback].rows


def built(
    folder: Path,
    task: Task,
    parent: Artifact,
    callbacks: Mapping[str, Callback],
    teachers: Sequence[Artifact] = (),
    module: ModuleFactory = LABELS,
    **settings: Any,
) -> Artifact:
    """Build one stage that goes on from `parent`, and return its artifact."""
    stage = Stage("student", module, CPU, callbacks=callbacks, **{"batch_size": 8} | settings)
    folder.mkdir(parents=True, exist_ok=True)
    stage.build(task, folder, parent, [Trained(one) for one in teachers], None)
    seal(folder, {"key": folder.name, "stage": "built"})
    return Artifact(folder)
