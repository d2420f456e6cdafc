"""Hydra's callbacks of a sweep: its table, that of labelers, and the exit status where a gate failed.

Every run imports this file before it starts, so that what loads torch is imported where it is used.
"""

import logging
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from clinlm.store.kept_sources import kept_sources
from clinlm.sweepers.shared_study import STUDY

if TYPE_CHECKING:
    from clinlm.pipeline.results import GateFailed
    from clinlm.pipeline.run_record import RunRecord
    from clinlm.report.written import WrittenReport

log = logging.getLogger(__name__)
RUN = "run.json"
"""Left by every pipeline that finished; see `clinlm.pipeline.run_record`."""
FAILED = "gate.json"
"""Left by a job of a sweep that failed its gate."""

_NO_OBJECTIVES = dict.fromkeys(("quality", "latency_ms", "bytes", "parameters", "nonzero"), float("nan"))


class SweepTable(Callback):
    """Compares the models of all jobs when a sweep ends."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Compare the last stage of every job with its teacher, task by task; name the jobs that did not finish."""
        from clinlm.pipeline.run_record import RunRecord

        folder = Path(config.hydra.sweep.dir)
        runs = [RunRecord.read(job) for job in finished_jobs(folder)]
        repeated = [run for run in runs if run.resplits > 1]
        if repeated:
            _resplits(repeated, folder)
            return
        by_task: dict[str, list[RunRecord]] = defaultdict(list)
        for run in runs:
            by_task[run.task.key].append(run)
        for key, own in by_task.items():
            place = folder if len(by_task) == 1 else folder / f"task-{key}"
            place.mkdir(exist_ok=True)
            if len(by_task) > 1:
                log.info("%s: %s", place.name, " ".join(_common(own, runs)) or "the settings of all tasks")
            with kept_sources(Path(own[0].store)):
                summarise(own, place)


class LabelersTable(Callback):
    """Compares labelers, and the models that learned from them, when a sweep over labelers ends."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print and write the table; without a finished job there is none.

        Raises:
            ConfigError: see `clinlm.report.labelers.open_jobs`.
        """
        folder = Path(config.hydra.sweep.dir)
        jobs = finished_jobs(folder)
        if jobs:
            from clinlm.pipeline.run_record import RunRecord

            run = RunRecord.read(jobs[0])
            if run.nested or run.resplits > 1:
                log.warning("no table of labelers: it is of the test documents of one split")
                return
            from clinlm.report.labelers import report_labelers

            report_labelers(jobs, folder)


class GateStatus(Callback):
    """Ends a sweep with exit status 3 where a job failed its gate, after everything else.

    Skipped for optimiser sweeps, where failures are expected.
    """

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Exit if one of the jobs left `gate.json`."""
        from clinlm.pipeline.results import GateFailed

        folder = Path(config.hydra.sweep.dir)
        failed = sorted(folder.glob(f"*/{FAILED}"))
        if not failed or (folder / STUDY).is_file():
            return
        for path in failed:
            print(f"clinlm: job {path.parent.name}: {gate_message(path)}", file=sys.stderr)
        sys.exit(GateFailed.exit_status)


def gate_message(path: Path) -> str:
    """Return why a job failed its gate, from its `gate.json`.

    Raises:
        DataError: the file is damaged.
    """
    from clinlm.pipeline.run_record import read_run_file

    return str(read_run_file(path)["message"])


def record_failure(failed: "GateFailed", folder: Path) -> dict[str, float]:
    """Log that a job of a sweep failed its gate, write `gate.json` into its folder, and return NaN for all objectives.

    An optimiser counts the job as failed.
    """
    from clinlm.pipeline.run_record import write_run_file

    log.error("%s", failed)
    stages = [{"gate": v.gate, "stage": v.subject, "refused": list(v.refused)} for v in failed.verdicts]
    write_run_file(folder / FAILED, {"message": str(failed), "verdicts": stages})
    return dict(_NO_OBJECTIVES)


def _resplits(runs: Sequence["RunRecord"], folder: Path) -> None:
    """Write, print and log a table over splits for every task of the sweep."""
    from clinlm.config.resolvers import register_resolvers
    from clinlm.report.resplits import by_corpus, report_resplits

    register_resolvers()
    found = by_corpus(runs)
    for key, own in found.items():
        place = folder if len(found) == 1 else folder / f"task-{key}"
        place.mkdir(exist_ok=True)
        _publish(report_resplits(own, place))


def summarise(runs: Sequence["RunRecord"], folder: Path) -> None:
    """Write, print and log the report of `runs`, all on one task."""
    from clinlm.config.resolvers import register_resolvers
    from clinlm.report.nested import UNOPENED
    from clinlm.report.report import Report, open_inputs

    register_resolvers()
    report = Report(runs, open_inputs(runs[0]), folder, stages=False)
    title = f"The last stage of {len(runs)} pipelines, on {runs[0].split}"
    subject = report.chosen()
    lines = again_command(next(own.lineage.overrides for own in report.results if own.name == subject))
    if runs[0].nested:
        title, (subject, lines) = title + UNOPENED, report.choice(runs)
    report.print(title, subject, [stage_counts(runs), *lines])
    _publish(report.written)


def _publish(written: "WrittenReport") -> None:
    """Give a sweep to the logger of its runs."""
    from clinlm.report.tracked import publish_sweep
    from clinlm.tracking.opened import open_logger

    logger = written.runs[0].logger
    if logger is not None:
        publish_sweep(written, open_logger(dict(logger)))


def again_command(overrides: Sequence[str]) -> list[str]:
    """Return a line with the command that runs the best pipeline of a sweep alone."""
    import shlex

    return [f"again      {shlex.join(['clinlm', *overrides])}"] if overrides else []


def stage_counts(runs: Sequence["RunRecord"]) -> str:
    """Return how many stages the runs requested, and how many of them were built."""
    requested = [stage.folder for run in runs for stage in run.stages]
    built = [stage.folder for run in runs for stage in run.stages if not stage.cached]
    unique = len(set(requested))
    return f"stages     {len(requested)} requested, {unique} unique, {len(built)} built, {unique - len(built)} reused"


def _common(runs: Sequence["RunRecord"], every: Sequence["RunRecord"]) -> list[str]:
    """Return the overrides that all of `runs` have, and not `every` run of the sweep."""

    def shared(of: Sequence["RunRecord"]) -> set[str]:
        return {override for override in of[0].overrides if all(override in run.overrides for run in of)}

    kept = shared(runs) - shared(every)
    return [override for override in runs[0].overrides if override in kept]


def finished_jobs(folder: Path) -> list[Path]:
    """Return the folders of the jobs that finished, in order; those that did not are named in a warning."""
    failed = sorted(job.name for job in unfinished_folders(folder))
    if failed:
        log.warning("%d jobs of the sweep did not finish: %s", len(failed), ", ".join(failed))
    return job_folders(folder)


def unfinished_folders(folder: Path) -> list[Path]:
    """Return the folders of the jobs that began and did not finish, but for trials that a study pruned."""
    started = [path.parent.parent for path in folder.glob("*/.hydra/overrides.yaml")]
    pruned = {str(trial["number"]) for trial in _trials(folder) if trial["state"] == "PRUNED"}
    return [job for job in started if not (job / RUN).is_file() and job.name not in pruned]


def job_folders(folder: Path) -> list[Path]:
    """Return the folders of the jobs that finished; of a study, also those of earlier runs of the command.

    Raises:
        DataError: the file of the study is damaged.
    """
    if (folder / STUDY).is_file():
        places = [Path(trial["folder"]) for trial in _trials(folder) if trial["folder"]]
        found = [place for place in places if (place / RUN).is_file()]
        if len(found) < len(places):
            log.warning(
                "%d of %d trials have no run here (removed, or on another machine): the table is of the others",
                len(places) - len(found),
                len(places),
            )
        return found
    jobs = [path.parent for path in folder.glob(f"*/{RUN}")]
    return sorted(jobs, key=lambda job: (not job.name[:1].isdigit(), len(job.name.partition("-")[0]), job.name))


def _trials(folder: Path) -> list[dict[str, Any]]:
    """Return the trials of the study of a sweep; none of another sweep."""
    if not (folder / STUDY).is_file():
        return []
    from clinlm.pipeline.run_record import read_run_file

    trials: list[dict[str, Any]] = read_run_file(folder / STUDY)["trials"]
    return trials
