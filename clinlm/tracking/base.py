"""What every logger promises, and the plain data that it is given."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

if TYPE_CHECKING:  # a run that builds nothing draws no curves
    from lightning.pytorch.loggers import Logger

Scalar = float | int | str | bool | None


@dataclass(frozen=True)
class TrackedArtifact:
    """Something in the store, as a dashboard shows it: where it comes from, and the digests of its files.

    Attributes:
        name: of its folder, `<stage>-<key>`.
        facts: what it is and cost; no words of notes.
        digests: file -> sha256.
        folder: whose files may be uploaded; None where they hold notes, or words of notes.
    """

    name: str
    kind: Literal["model", "deployment", "baseline", "transfer", "corpus"]
    facts: Mapping[str, Any] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None


@dataclass(frozen=True)
class TrackedRun:
    """A finished stage, pipeline or sweep, as a dashboard shows it.

    Attributes:
        key: of the artifact of a stage; else the name of the folder of the report.
        settings: that were used, by name.
        summary: the columns of all runs, always the same; None where something was not measured.
        tables: name -> table.
        files: name -> page or picture.
        uses, makes: artifacts that it began with, and that it made.
        tags: families of methods, and the verdict of the gate.
        command: what is typed to make it again.
    """

    name: str
    kind: Literal["stage", "pipeline", "sweep"]
    key: str
    settings: Mapping[str, Any]
    summary: Mapping[str, Scalar]
    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    uses: tuple[TrackedArtifact, ...] = ()
    makes: tuple[TrackedArtifact, ...] = ()
    tags: tuple[str, ...] = ()
    command: str = ""


@dataclass(frozen=True)
class Announcement:
    """What is known of a stage before the pipeline starts.

    Attributes:
        settings: see `TrackedRun`.
        command: see `TrackedRun`.
    """

    name: str
    settings: Mapping[str, Any]
    command: str


class RunLogger(ABC):
    """Where the curves of stages, and the numbers and tables of stages, pipelines and sweeps go."""

    announced: Mapping[str, Announcement] = {}
    """By the name of each stage, what a dashboard may show of it while it trains."""

    def announce(self, stages: Mapping[str, Announcement]) -> None:
        """Take down what is known of all stages before the first begins."""
        self.announced = stages

    @abstractmethod
    def stage(self, name: str, key: str, folder: Path, settings: Mapping[str, Any]) -> "Logger | None":
        """Return Lightning's logger for a stage that is about to be built, or None."""

    @abstractmethod
    def stage_done(self, report: Mapping[str, Any]) -> None:
        """Take the report of the stage that was built last. Its quality is measured at the end of the pipeline."""

    @abstractmethod
    def publish(self, run: TrackedRun) -> None:
        """Log a finished run: every stage of a pipeline, built or reused, the pipeline, and at last the sweep."""
