"""One pipeline from configuration to printed table."""

import logging
import warnings
from pathlib import Path
from typing import Any

import transformers
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from clinlm import pipeline, store
from clinlm.report.comparison import Settings, compare
from clinlm.report.table import frame, render, write

log = logging.getLogger(__name__)


def run(config: DictConfig) -> float:
    """Run the pipeline of `config`, compare its stages, print and write the comparison.

    Returns:
        the monitored quality of the last stage, on test.
    """
    quiet()
    settings: Settings = instantiate(config.report)
    logger = instantiate(config.logger)
    task, task_key = pipeline.open_task(config)
    console = Console(stderr=False)
    for notice in task.examples.notices:
        log.warning(notice)
    done = pipeline.run(config, task, task_key, logger)
    rows, notices = compare(task, task_key, done, settings, Path(config.store))
    folder = Path(HydraConfig.get().runtime.output_dir)
    name = str(HydraConfig.get().runtime.choices.get("pipeline", "pipeline"))
    facts = {
        "task": dict(task.examples.facts),
        "notices": [*task.examples.notices, *notices],
        "overrides": list(HydraConfig.get().overrides.task),
        "pipeline": name,
        "stages": [{"name": d.name, "role": d.role, "folder": str(d.artifact.folder), "cached": d.cached} for d in done],
    }
    store.write_json(folder / "run.json", facts)
    write(rows, folder, "table")
    logger.table(name, frame(rows), _plain(config), folder)
    console.print(render(rows, f"pipeline {name}: every stage against its teacher, on test"))
    for notice in notices:
        console.print(f"note: {notice}")
    last = done[-1]
    console.print(f"artifact   {last.artifact.folder}")
    console.print(f"report     {folder / 'table.md'}")
    console.print(f"next       {suggestion(name)}")
    return rows[-1].quality[str(config.monitor).removeprefix("val/")]


def suggestion(name: str) -> str:
    """Return the next command to try."""
    if name == "c":
        return "clinlm -m pipeline=a,b,c      # the same teacher, with and without pruning: trained once, reused"
    return "clinlm pipeline=c prune.ratio=0.3      # prune harder: what is unchanged is reused"


def quiet() -> None:
    """Silence what libraries say about their own affairs: our log names every stage, and the bar shows the steps."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for name in ("lightning.pytorch", "lightning.fabric", "lightning", "httpx"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # Loading is a look-up in memory, and LambdaLR is stepped by Lightning: neither concerns the user.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*before.*optimizer.step.*")


def _plain(config: DictConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}
