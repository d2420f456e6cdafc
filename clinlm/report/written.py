"""What a run or a sweep left in its folder, read back: no model is opened, nothing is measured again."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, final

from omegaconf import OmegaConf

from clinlm.config.errors import ConfigError
from clinlm.pipeline.run_record import RUN, RunRecord, as_written, read_run_file
from clinlm.report.results import ModelResult, decode_results
from clinlm.report.sweep import job_folders

TABLE = "table"
"""Of the files of a comparison, without ending; its JSON is that of `clinlm.report.results.results_content`."""
RESPLITS = "resplits"
"""Of those of a comparison over several splits."""


@final
@dataclass(frozen=True)
class WrittenReport:
    """The report in the folder of a run, or of a sweep (of one of its tasks, where it has several).

    Attributes:
        folder: that it was read from.
        runs: the finished pipelines; of a folder of a run that one.
        results: of the comparison, in the order of the table.
        notices: about the task and all results.
        conclusion: sentences about all results.
        machine: name of what latencies were measured on, with the load of the cores and the date; None without any.
        subject: name of the result that the comparison is about; "" where table.json does not say it.
        places: folders of `runs`, in the same order.
    """

    folder: Path
    runs: tuple[RunRecord, ...]
    results: tuple[ModelResult, ...]
    notices: tuple[str, ...]
    conclusion: tuple[str, ...]
    machine: dict[str, Any] | None
    subject: str = ""
    places: tuple[Path, ...] = ()

    @property
    def is_sweep(self) -> bool:
        """Whether results are of several pipelines, and not the stages of one, whose folder this is."""
        return self.places != (self.folder,)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the report in `folder`.

        Raises:
            ConfigError: there is no finished report in it.
            DataError: a file of it is damaged.
        """
        tables = [folder / f"{name}.json" for name in (TABLE, RESPLITS)]
        table = next((path for path in tables if path.is_file()), tables[0])
        if not table.is_file():
            parts = sorted(path.parent.name for path in folder.glob(f"*/{TABLE}.json"))
            hint = f"; it has reports in {', '.join(parts[:5])}" if parts else ""
            raise ConfigError(f"a folder of a finished run or sweep must hold {table.name}, got {folder}{hint}")
        content = read_run_file(table)
        with as_written(table):
            results = tuple(decode_results(content))
            notices, conclusion = tuple(content["notices"]), tuple(content.get("conclusion", ()))
            machine, subject = content["machine"], content.get("subject", "")
        keys = {own.key for own in results if own.key} if folder.name.startswith("task-") else set()
        runs = [RunRecord.read(place) for place in run_folders(folder)]
        if keys:  # a sweep of several tasks: each has a folder of its own, without run.json
            runs = [run for run in runs if keys & {stage.key for stage in run.stages}]
        return cls(folder, tuple(runs), results, notices, conclusion, machine, subject, places_of(runs, folder))

    @property
    def typed(self) -> str:
        """The command that was typed; "" where Hydra's record of it is not there."""
        folder = self.folder.parent if self.folder.name.startswith("task-") else self.folder
        path = folder / ("multirun.yaml" if self.is_sweep else ".hydra/hydra.yaml")
        if not path.is_file():
            return ""
        words = OmegaConf.select(OmegaConf.load(path), "hydra.overrides.task", default=None)
        return "" if words is None else shlex.join(["clinlm", *["-m"] * self.is_sweep, *map(str, words)])

    def json(self, name: str) -> Any | None:
        """Return the contents of another JSON file of the folder, such as validation.json; None if it has none."""
        return read_json(self.folder / name)


def read_json(path: Path) -> Any | None:
    """Return the contents of a JSON file of a run or sweep; None without it.

    Raises:
        DataError: it is damaged.
    """
    return read_run_file(path) if path.is_file() else None


def machine_of(results: Sequence[ModelResult]) -> dict[str, Any] | None:
    """Return what results were timed on, as table.json has it; None where none was timed."""
    return next((asdict(own.latency.hardware) for own in results if own.latency and own.latency.hardware), None)


def places_of(runs: Sequence[RunRecord], folder: Path) -> tuple[Path, ...]:
    """Return the folder that each of `runs` was read from; `folder` for one that was not read."""
    return tuple(run.place or folder for run in runs)


def run_folders(folder: Path) -> list[Path]:
    """Return the folders of the runs of a report, in order of their numbers."""
    if (folder / RUN).is_file():
        return [folder]
    return job_folders(folder.parent if folder.name.startswith("task-") else folder)
