"""Pipelines of tiny networks: composed from `conf/` as the command line does, run in this process, in seconds."""

from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, open_dict

from clinlm import machine, pipeline
from clinlm.__main__ import CONF
from clinlm.artifact import Artifact
from clinlm.pipeline import Done

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
    "prune.ratio=0.25",
    "trainer=cpu",
    "trainer.enable_progress_bar=false",
    "logger=none",
    "report.latency_documents=3",
    "report.latency_passes=1",
    "report.resamples=50",
)


def composed(notes: Path, store: Path, *overrides: str) -> DictConfig:
    """Return the configuration of a pipeline of tiny networks on the table `notes` (columns id, group, text, labels).

    Hydra's own part is registered as a run would, with the output folder `run` beside the store.
    """
    machine.register()
    places = (f"task.root={notes}", f"store={store}", f"hydra.run.dir={store.parent / 'run'}")
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("config", [*TINY, *places, *overrides], return_hydra_config=True)
    with open_dict(config.hydra):
        config.hydra.runtime.output_dir = str(store.parent / "run")
    HydraConfig.instance().set_config(config)
    with open_dict(config):
        config.pop("hydra")
    return config


def finished(config: DictConfig) -> list[Done]:
    """Run the pipeline of `config`; what is in its store is reused."""
    task, key = pipeline.open_task(config)
    return pipeline.run(config, task, key, instantiate(config.logger))


def artifacts(done: list[Done]) -> dict[str, Artifact]:
    """Return the artifact of every stage by the stage's name."""
    return {one.name: one.artifact for one in done}


def weights(done: list[Done]) -> dict[str, bytes]:
    """Return the bytes of the weights of every stage."""
    return {one.name: (one.artifact.folder / "model.safetensors").read_bytes() for one in done}
