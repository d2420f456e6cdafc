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

from clinlm.config.console import make_console
from clinlm.config.runtime import keep_memory
from clinlm.config.validation import refuse_monitor, refuse_unread
from clinlm.metrics import entity_evaluation
from clinlm.metrics.classification import METRICS, ONE_VS_ONE
from clinlm.pipeline import execution
from clinlm.pipeline.plan import plan
from clinlm.pipeline.results import GateFailed, StageResult
from clinlm.report import epochs, external_table, gates, methods, safety
from clinlm.report.comparison import Candidate, Settings, compare
from clinlm.report.ensembles import assemblies
from clinlm.report.external import External, opened_external
from clinlm.report.row import Row
from clinlm.report.sweep import RUN
from clinlm.report.table import frame, render, write
from clinlm.store.content import write_json
from clinlm.tasks.base import Task
from clinlm.tracking.base import RunLogger

log = logging.getLogger(__name__)


def run(config: DictConfig) -> dict[str, float]:
    """Run the pipeline of `config`, compare its stages, print and write the comparison.

    Returns:
        what a sweeper may optimise, of the last stage: `quality` (the monitored metric on validation: settings are
        never chosen by test documents), `bytes`, `parameters`, `nonzero` and `latency_ms` (p50).

    Raises:
        GateFailed: after everything that was built has been told.
    """
    quiet()
    keep_memory()
    refuse_unread(config)
    refuse_monitor(str(config.monitor), dict.fromkeys([*METRICS, ONE_VS_ONE, *entity_evaluation.METRICS]))
    settings: Settings = instantiate(config.report)
    logger = instantiate(config.logger)
    for name in (RUN, gates.FAILED):  # of an earlier run in this folder: a sweep would read them
        (Path(HydraConfig.get().runtime.output_dir) / name).unlink(missing_ok=True)
    stages = plan(config)  # bad values fail now, before anything is trained
    task, task_key = execution.open_task(config)
    for notice in task.examples.notices:
        log.warning(notice)
    log.info("task: %s", ", ".join(f"{name} {value}" for name, value in task.examples.facts.items()))
    other = opened_external(config, task, task_key)
    stopped: GateFailed | None = None
    try:
        done = execution.run(config, stages, task, task_key, logger)
    except GateFailed as failed:
        done, stopped = failed.done, failed
    row = _report(config, settings, task, task_key, done, logger, other, whole=stopped is None)
    if stopped is not None:
        raise stopped
    return objectives(row, str(config.monitor))


def _report(
    config: DictConfig,
    settings: Settings,
    task: Task,
    task_key: str,
    done: Sequence[StageResult],
    logger: RunLogger,
    other: External | None,
    whole: bool,
) -> Row:
    """Compare the stages, print and write everything there is to tell; returns the row of the last stage.

    Of a pipeline that its gate stopped (not `whole`) no `run.json` is left: a sweep's table has whole pipelines only.
    """
    entries = [Candidate(one.name, one.role, one.artifact, one.cached) for one in done]
    folder = Path(HydraConfig.get().runtime.output_dir)
    name = str(HydraConfig.get().runtime.choices.get("pipeline", "pipeline"))
    facts = _facts(config, name, task, task_key, done)
    shown = assemblies(facts["stages"], Path(config.store), task_key)
    rows, notices, per_label = compare(task, task_key, entries, settings, Path(config.store), shown)
    reports = {one.name: one.artifact.report for one in done}
    write(rows, folder, "table", per_label, [*task.examples.notices, *notices])
    trained = {one.name: one.artifact for one in done if epochs.has_epochs(one.artifact)}
    if trained:
        epochs.frame(task, trained).write_csv(folder / "epochs.csv")
    (folder / "methods.md").write_text(methods.markdown(reports), encoding="utf-8")
    logger.table(name, frame(rows), _plain(config), folder)
    if whole:
        write_json(folder / RUN, facts)
    console = make_console()
    console.print(render(rows, f"pipeline {name}: every stage on test, beside the teacher it began from"))
    lines = [*methods.lines(reports), *(f"note: {notice}" for notice in notices)]
    if task.by_word:
        places = (Path(config.store), folder)
        lines += external_table.told(task, other, rows, per_label, notices, entries, settings, places)
    judged = gates.subjects(done)
    if judged and not task.by_word:  # what is told there document by document, gates tell of entities
        names = (next(one.name for one in done if one.artifact == judged[-1].original), judged[-1].name)
        lines += safety.validated(task, judged[-1].original, judged[-1].artifact, names, settings, folder)
    lines += safety.verdicts(task, judged, rows, config, folder)
    lines += [f"deployed   {row.name}: {row.deployment['folder']}" for row in rows if row.deployment]
    lines += [f"artifact   {done[-1].artifact.folder}", f"report     {folder / 'table.md'}"]
    lines += [f"next       {suggestion(name, list(HydraConfig.get().overrides.task))}"]
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)
    return next(row for row in rows if row.name == done[-1].name)


def _facts(config: DictConfig, name: str, task: Task, task_key: str, done: Sequence[StageResult]) -> dict[str, Any]:
    """Return what a sweep has to know of this run."""
    return {
        "pipeline": name,
        "seed": config.seed,
        "overrides": list(HydraConfig.get().overrides.task),
        "task": {"key": task_key, "facts": dict(task.examples.facts), "notices": list(task.examples.notices)},
        "stages": [
            {
                "name": one.name,
                "role": one.role,
                "folder": str(one.artifact.folder.absolute()),
                "cached": one.cached,
                "techniques": list(one.techniques),
                "teachers": [teacher.name for teacher in one.teachers],
            }
            for one in done
        ],
    }


def objectives(row: Row, monitor: str) -> dict[str, float]:
    """Return what a sweeper may optimise; see `run`."""
    assert row.latency is not None, "every stage is timed"
    found = {"quality": row.validation[monitor.removeprefix("val/")], "latency_ms": row.latency.p50_ms}
    return found | {name: float(getattr(row, name)) for name in ("bytes", "parameters", "nonzero")}


def suggestion(pipeline: str, overrides: Sequence[str]) -> str:
    """Return the next command to try: the same settings, other pipelines; what is unchanged is reused.

    Without the gate, which may forbid what they do: the report tells every gate of every model.
    """
    left = ("pipeline=", "members=", "seed=", "gate=", "gate.", "+gate.")
    kept = shlex.join(["clinlm", *(one for one in overrides if not one.startswith(left))])
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
