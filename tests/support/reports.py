"""Finished pipelines as a report reads them, and results without a model."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from clinlm.cli.run import record_of
from clinlm.metrics.latency import Latency
from clinlm.pipeline import execution
from clinlm.pipeline.plan import plan
from clinlm.pipeline.protocol import fix_protocol
from clinlm.pipeline.run_record import RunRecord
from clinlm.report.results import ModelResult
from clinlm.tasks.base import Task
from clinlm.tracking.base import RunLogger, TrackedRun

QUICK = {"resamples": 100, "latency_documents": 4, "latency_passes": 1}
"""Settings of a report that takes a second."""


def recorded(config: DictConfig, **report: Any) -> tuple[RunRecord, Task]:
    """Run the pipeline of `config`, and return its record with these settings of the report, and its task."""
    task, key = execution.open_task(config)
    stages = plan(config)
    protocol = fix_protocol(config, execution.planned_folders(stages, Path(config.store), key), task.metrics)
    done = execution.run_stages(config, stages, task, key, instantiate(config.logger))
    record = record_of(config, task, key, done, protocol)
    return replace(record, report={**record.report, **QUICK, **report}), task


def timed(p50_ms: float, speedup: float = 1.0) -> Latency:
    """Return a latency of nine documents."""
    return Latency(p50_ms, 2.0, 3.0, 1.5, 9, speedup, speedup, speedup)


def result(name: str, micro_f1: float = 0.5, p50_ms: float | None = 1.0, **fields: Any) -> ModelResult:
    """Return the result of a stage."""
    settings: dict[str, Any] = {"kind": "stage", "parameters": 1, "nonzero": 1, "bytes": 1, "seconds": 1.0}
    settings |= {"quality": {"micro_f1": micro_f1}, "latency": None if p50_ms is None else timed(p50_ms, 1 / p50_ms)}
    return ModelResult(name=name, **settings | fields)


def same(a: float, b: float) -> bool:
    """Whether two numbers are equal, or both undefined."""
    return a == b or (math.isnan(a) and math.isnan(b))


class Seen(RunLogger):
    """A logger that keeps what it is told."""

    def __init__(self) -> None:
        self.runs: list[TrackedRun] = []

    def stage(self, name: str, key: str, folder: Path, settings: Mapping[str, Any]) -> None:
        return None

    def stage_done(self, report: Mapping[str, Any]) -> None:
        pass

    def publish(self, run: TrackedRun) -> None:
        self.runs.append(run)
