"""One pipeline from configuration to printed report."""

import logging
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from clinlm.cli.live import drawn
from clinlm.config.chatter import quiet_loggers, quiet_warnings
from clinlm.config.chosen import chosen_settings
from clinlm.config.external import external_settings
from clinlm.config.runtime import keep_memory
from clinlm.config.settings import plain
from clinlm.config.targets import instantiate
from clinlm.config.usage import is_read, read_settings, setting_of, unread
from clinlm.config.validation import CONF
from clinlm.pipeline import execution
from clinlm.pipeline.kept_plan import planned_stages
from clinlm.pipeline.protocol import Protocol, fix_protocol
from clinlm.pipeline.results import GateFailed, StageResult
from clinlm.pipeline.run_record import RunRecord, StageRecord, TaskRecord
from clinlm.report.external import open_external
from clinlm.report.nested import UNOPENED, nested_notices, resplits_command
from clinlm.report.report import Report
from clinlm.report.results import ModelResult
from clinlm.report.sweep import FAILED, RUN
from clinlm.report.terminal import shown_path
from clinlm.report.tracked import announcements, publish_run
from clinlm.tasks.base import Task
from clinlm.tracking.opened import open_logger
from clinlm.tracking.planned_jobs import PlannedJobs
from clinlm.tracking.run_progress import RunProgress

log = logging.getLogger(__name__)


def run(config: DictConfig, progress: RunProgress) -> dict[str, float]:
    """Run the pipeline of `config`, compare its stages, print and write the comparison.

    Args:
        progress: of the run, kept up to date.

    Returns:
        what a sweeper may optimise, of the last stage: `quality` (the monitored metric on validation: settings are
        never chosen by test documents), `bytes`, `parameters`, `nonzero` and `latency_ms` (p50 from text to decisions;
        NaN where `report.busy` refused it).

    Raises:
        GateFailed: after everything that was built has been reported.
    """
    quiet()
    keep_memory()
    instantiate(config.report)  # a bad setting fails now, not after training
    logger = open_logger(plain(config.logger))
    folder = Path(HydraConfig.get().runtime.output_dir)
    for name in (RUN, FAILED):  # of an earlier run in this folder, which a sweep would read
        (folder / name).unlink(missing_ok=True)
    stages = planned_stages(config, Path(config.store))
    progress.pipeline, progress.metric = _pipeline(), str(config.monitor)
    task, task_key = execution.open_task(config)
    _log_task(task, config.nested)
    other = None if config.nested else external_settings(config)
    protocol = fix_protocol(config, execution.planned_folders(stages, Path(config.store), task_key), task.metrics)
    external = None if other is None else open_external(other, task, task_key, Path(config.store))
    logger.announce(announcements([stage.name for stage in stages], *_chosen(config)))
    stopped: GateFailed | None = None
    try:
        with drawn(progress, draws=bool(config.trainer.get("enable_progress_bar", True))):
            done = execution.run_stages(config, stages, task, task_key, logger, progress)
    except GateFailed as failed:
        done, stopped = failed.done, failed
    progress.enter("comparing")
    record = record_of(config, task, task_key, done, protocol)
    report = Report([record], (task, external), folder, stages=True)
    if stopped is None:  # a sweep compares whole pipelines only
        record.write(folder)
    report.print(
        f"Pipeline {record.pipeline}: every stage on {record.split}{UNOPENED * record.nested}",
        report.results[-1].name,
        _lines(report, record, config),
    )
    publish_run(report.written, logger)
    if stopped is not None:
        raise stopped
    last = next(result for result in report.results if result.name == record.stages[-1].name)
    return objectives(last, record.monitor)


def _chosen(config: DictConfig) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return the settings that were read, by stage, and the overrides as they were typed."""
    typed = list(HydraConfig.get().overrides.task)
    return chosen_settings(config, HydraConfig.get().runtime.choices, typed), typed


def _log_task(task: Task, nested: bool) -> None:
    for notice in nested_notices(task.examples.notices) if nested else task.examples.notices:
        log.warning(notice)
    facts = {name: f"{own:.3g}" if isinstance(own, float) else own for name, own in task.examples.facts.items()}
    log.info("task: %s", ", ".join(f"{name} {value}" for name, value in facts.items()))


def _lines(report: Report, record: RunRecord, config: DictConfig) -> list[str]:
    """Return where the last model is, and the next command to try."""
    last = report.results[-1]
    deployed = [f"deployed   {shown_path(Path(last.deployment['folder']))}"] if last.deployment else []
    deployed += [] if report.cascade is None else [f"cascade    {shown_path(report.cascade)}"]
    artifact = f"artifact   {shown_path(Path(record.stages[-1].folder))}"
    if record.nested:
        return [*deployed, artifact, f"next       {resplits_command(record)}"]
    return [*deployed, artifact, report.next_line(suggestion(record.pipeline, record.overrides, config))]


def record_of(
    config: DictConfig, task: Task, task_key: str, done: Sequence[StageResult], protocol: Protocol | None = None
) -> RunRecord:
    """Return all that a report reads of this run, besides the store."""
    gates = [plain(OmegaConf.load(path)) for path in sorted(CONF.glob("gate/*.yaml"))]
    facts = dict(task.examples.facts)
    notices = nested_notices(task.examples.notices) if config.nested else task.examples.notices
    chosen, typed = _chosen(config)
    idle = unread(config, typed)  # of a job of a sweep: another job reads it
    idle += [override for override in typed if override.startswith("resplits=")]  # this run is one of the splits
    return RunRecord(
        pipeline=_pipeline(),
        seed=config.seed,
        overrides=tuple(override for override in typed if override not in idle),
        store=str(Path(config.store).absolute()),
        monitor=str(config.monitor),
        task=TaskRecord(task_key, plain(config.task), facts, tuple(notices)),
        stages=tuple(
            StageRecord(
                stage.name,
                stage.role,
                str(stage.artifact.folder.absolute()),
                stage.cached and stage.artifact.folder.name not in PlannedJobs.built,
                tuple(stage.techniques),
                tuple(teacher.name for teacher in stage.teachers),
                chosen.get(re.sub(r"_\d+$", "", stage.name), {}),
            )
            for stage in done
        ),
        report=plain(config.report),
        gate=None if config.get("gate") is None else plain(config.gate),
        gates=tuple(gate for gate in gates if "_target_" in gate),
        device=plain(config.device),
        external=external_settings(config),
        resplits=config.resplits,
        nested=config.nested,
        protocol=protocol,
        settings=chosen[""],
        logger=plain(config.logger),
    )


def _pipeline() -> str:
    return str(HydraConfig.get().runtime.choices.get("pipeline", "pipeline"))


def objectives(result: ModelResult, monitor: str) -> dict[str, float]:
    """Return what a sweeper may optimise; see `run`."""
    latency_ms = float("nan") if result.p50_ms is None else result.p50_ms  # report.busy=refuse
    found = {"quality": result.validation[monitor.removeprefix("val/")], "latency_ms": latency_ms}
    return found | {name: float(getattr(result, name)) for name in ("bytes", "parameters", "nonzero")}


def suggestion(pipeline: str, overrides: Sequence[str], config: DictConfig) -> str:
    """Return the next command to try: the same settings, other pipelines; unchanged stages are reused.

    Without the gate, which may forbid what they do (the report judges every model by every gate), and without settings
    that only this pipeline reads.
    """
    left = ("pipeline=", "members=", "seed=", "gate=", "gate.", "+gate.")
    kept = [override for override in overrides if not override.startswith(left)]
    if pipeline == "c":
        return shlex.join(["clinlm", *kept, "-m", "pipeline=a,b,c"])
    if pipeline in ("a", "b"):
        return shlex.join(["clinlm", *kept, "pipeline=c", "prune.ratio=0.3"])
    others = [str(name) for name in config.stages][1:]
    read = read_settings(config, others)  # by the teacher, the task and the report
    paths = {override: setting_of(override, config) for override in kept if "stages." not in override.partition("=")[0]}
    shared = [override for override, path in paths.items() if path is None or is_read(path, read)]
    return shlex.join(["clinlm", *shared, "-m", "pipeline=baseline,distillation,low_rank,pruning,quantization"])


def quiet() -> None:
    """Silence routine messages of libraries: our log names every stage, and the bar shows the steps."""
    os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}  # read on import
    if (transformers := sys.modules.get("transformers")) is not None:
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
    quiet_loggers()
    quiet_warnings()
