"""`python -m clinlm.pipeline.rank`: one rank of the fit of a stage on several devices; see `clinlm.pipeline.ddp`."""

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import polars as pl
from safetensors.torch import load_file

from clinlm.config.errors import ConfigError
from clinlm.config.methods_path import prefer_own_methods
from clinlm.config.runtime import keep_memory
from clinlm.config.targets import allow_targets, instantiate
from clinlm.models.artifact import Artifact
from clinlm.pipeline.ddp import READY, Inputs, RankEnvironment
from clinlm.pipeline.stage import Stage
from clinlm.tasks.base import Task
from clinlm.tasks.transfer_set import TransferSet


def main() -> None:
    """Train as one of the other ranks: read the job from the input, say when ready, and end with the fit."""
    job: dict[str, Any] = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_rank_0, daemon=True).start()
    sys.path[:] = job["path"]
    prefer_own_methods()
    allow_targets(job["allow"])
    keep_memory()
    task: Task = instantiate(job["task"])
    opened = Path(job["task_folder"])
    task.open(opened.parent, opened.name.removeprefix("task-"))
    transfer = None
    if job["transfer"] is not None:
        place = TransferSet(job["transfer"], ()).folder(opened.parent)
        transfer = TransferSet(job["transfer"], pl.read_parquet(place / "texts.parquet")["text"].to_list())
    parent, network = (job[name] and Artifact(Path(job[name])) for name in ("parent", "network"))
    inputs = Inputs(task, parent, network, transfer, load_file(job["logits"]))
    stage = Stage.from_settings(job["stage"])
    trainer, module = stage.prepared_rank(inputs, Path(job["folder"]), RankEnvironment(job["rank"], job["port"]))
    if trainer.world_size != job["ranks"]:
        raise ConfigError(f"every rank must see {job['ranks']} devices, rank {job['rank']} sees {trainer.world_size}")
    print(f"\n{READY}", flush=True)
    os.dup2(2, 1)  # nobody reads the output from now on
    trainer.fit(module, datamodule=module.data, ckpt_path=job["checkpoint"], weights_only=True)


def _end_with_rank_0() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
