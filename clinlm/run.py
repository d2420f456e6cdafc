"""One pipeline from configuration to printed table."""

import logging
import shlex
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import transformers
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from clinlm import machine, pipeline, store
from clinlm.measure.quality import METRICS
from clinlm.report import epochs, methods
from clinlm.report.comparison import Candidate, Settings, compare
from clinlm.report.row import Row
from clinlm.report.sweep import RUN
from clinlm.report.table import frame, render, write
from clinlm.settings import refuse_monitor, refuse_unread

log = logging.getLogger(__name__)


def run(config: DictConfig) -> dict[str, float]:
    """Run the pipeline of `config`, compare its stages, print and write the comparison.

    Returns:
        what a sweeper may optimise, of the last stage: `quality` (the monitored metric on validation: settings are
        never chosen by test documents), `bytes`, `parameters`, `nonzero` and `latency_ms` (p50).
    """
    quiet()
    machine.keep_memory()
    refuse_unread(config)
    refuse_monitor(str(config.monitor), METRICS)
    settings: Settings = instantiate(config.report)
    logger = instantiate(config.logger)
    pipeline.plan(config)  # bad values fail now, not when their stage's turn comes
    task, task_key = pipeline.open_task(config)
    for notice in task.examples.notices:
        log.warning(notice)
    log.info("task: %s", ", ".join(f"{name} {value}" for name, value in task.examples.facts.items()))
    done = pipeline.run(config, task, task_key, logger)
    entries = [Candidate(one.name, one.role, one.artifact, one.cached) for one in done]
    rows, notices, per_label = compare(task, task_key, entries, settings, Path(config.store))
    folder = Path(HydraConfig.get().runtime.output_dir)
    name = str(HydraConfig.get().runtime.choices.get("pipeline", "pipeline"))
    reports = {one.name: one.artifact.report for one in done}
    write(rows, folder, "table", per_label, [*task.examples.notices, *notices])
    trained = {one.name: one.artifact for one in done if epochs.has_epochs(one.artifact)}
    if trained:
        epochs.frame(task, trained).write_csv(folder / "epochs.csv")
    (folder / "methods.md").write_text(methods.markdown(reports), encoding="utf-8")
    logger.table(name, frame(rows), _plain(config), folder)
    facts = {
        "pipeline": name,
        "seed": config.seed,
        "overrides": list(HydraConfig.get().overrides.task),
        "task": {"key": task_key, "facts": dict(task.examples.facts), "notices": list(task.examples.notices)},
        "stages": [
            {"name": d.name, "role": d.role, "folder": str(d.artifact.folder.absolute()), "cached": d.cached}
            for d in done
        ],
    }
    store.write_json(folder / RUN, facts)
    console = machine.console()
    console.print(render(rows, f"pipeline {name}: every stage on test, beside the teacher it began from"))
    for line in [*methods.lines(reports), *(f"note: {notice}" for notice in notices)]:
        console.print(line)
    console.print(f"artifact   {done[-1].artifact.folder}", soft_wrap=True)
    console.print(f"report     {folder / 'table.md'}", soft_wrap=True)
    console.print(f"next       {suggestion(name, facts['overrides'])}", soft_wrap=True)
    return objectives(rows[-1], str(config.monitor))


def objectives(row: Row, monitor: str) -> dict[str, float]:
    """Return what a sweeper may optimise; see `run`."""
    assert row.latency is not None, "every stage is timed"
    found = {"quality": row.validation[monitor.removeprefix("val/")], "latency_ms": row.latency.p50_ms}
    return found | {name: float(getattr(row, name)) for name in ("bytes", "parameters", "nonzero")}


def suggestion(pipeline: str, overrides: Sequence[str]) -> str:
    """Return the next command to try: the same settings, other pipelines; what is unchanged is reused."""
    kept = shlex.join(["clinlm", *(one for one in overrides if not one.startswith(("pipeline=", "seed=")))])
    if pipeline == "c":
        return f"{kept} -m pipeline=a,b,c"
    if pipeline in ("a", "b"):
        return f"{kept} pipeline=c prune.ratio=0.3"
    return f"{kept} -m pipeline=baseline,distillation,low_rank,pruning,quantization"


def quiet() -> None:
    """Silence what libraries say about their own affairs: our log names every stage, and the bar shows the steps."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for name in ("lightning.pytorch", "lightning.fabric", "lightning", "httpx"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # Batches come from memory, so workers would only copy them; LeafSpec is between Lightning and torch.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated.*")


def _plain(config: DictConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}
