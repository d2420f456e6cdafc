"""Settings of a report: `report.*` on the command line."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, final

from clinlm.config.errors import ConfigError
from clinlm.config.ranges import check_choice
from clinlm.engines.base import EngineSelection
from clinlm.metrics.economics import Machine
from clinlm.report import deployments
from clinlm.report.cascades import CascadeSettings
from clinlm.report.timing import Busy
from clinlm.tasks.base import Task

SHOWN: Final = ("gates", "devices", "uncertainty", "validation", "methods", "labels", "published", "adapters", "grid")
"""Parts of a report that are written to files, and printed only if `show` lists them."""


@final
@dataclass(frozen=True)
class ReportSettings:
    """How models are compared and what is printed.

    Attributes:
        published: name of a table in `conf/published` to print with our results; None for none.
        show: parts of `SHOWN` to print as well.
        resamples: of the bootstrap.
        by_group: resample whole groups (patients), as notes of one patient are not independent; documents otherwise.
        latency_documents: test documents timed (of validation with `nested`), drawn at random.
        latency_passes: how often every model is timed on each of them.
        busy: of latencies measured while other processes used more than 10 % of the cores: `mark` shows them with a
            mark, `refuse` leaves them out.
        latency: `kept` shows what was measured before of the same rows and documents with the same processor, threads
            and versions, unless that was disturbed and the machine is quiet now; `again` measures all rows again.
        seed: of the draws.
        engine: every model is deployed on it (or on the fastest of several) and evaluated again; None for none.
        machine: price of the machine that everything is timed on.
        cascade: which two rows of a pipeline answer one after another, as a row of their own; None for none.

    Raises:
        ConfigError: `show` has an unknown part; `busy` is not one of its values.
        MissingExtraError: the engine is not installed.
    """

    published: str | None = None
    show: Sequence[str] = ()
    resamples: int = 1000
    by_group: bool = True
    latency_documents: int = 50
    latency_passes: int = 3
    busy: Busy = "mark"
    latency: Literal["kept", "again"] = "kept"
    seed: int = 0
    engine: EngineSelection | None = None
    machine: Machine = Machine()
    cascade: CascadeSettings | None = None

    def __post_init__(self) -> None:
        check_choice("report.busy", self.busy, ("mark", "refuse"))
        check_choice("report.latency", self.latency, ("kept", "again"))
        unknown = [part for part in self.show if part not in SHOWN]
        if isinstance(self.show, str) or unknown:
            raise ConfigError(
                f"report.show must be a list of {', '.join(SHOWN)}, got {self.show}; write report.show=[gates,devices]"
            )
        if isinstance(self.engine, str):
            raise ConfigError(
                f"report.engine must be a group's settings, got {self.engine!r}; write engine={self.engine}"
            )
        if self.engine is not None:
            deployments.check_installed(self.engine)  # before anything is trained

    def bootstrap(self, task: Task, split: str = "test") -> dict[str, Any]:
        """Return resamples, seed and groups of the documents of a split, as intervals of a comparison need them."""
        members = task.examples.members(split)
        groups = task.examples.frame["group"].gather(members).to_numpy() if self.by_group else None
        return {"resamples": self.resamples, "seed": self.seed, "groups": groups}
