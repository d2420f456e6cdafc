"""How far a run is: its stages and epochs, as plain data that a view draws, in this process or in another."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self, final

from clinlm.tracking.epoch_judge import EpochJudge
from clinlm.tracking.stage_progress import StageProgress

PROGRESS = "progress.json"
"""Written into the folder of a job while a view watches its sweep, and removed with the view."""
RUNNING = ("opening", "training", "measuring")
"""States of a stage at which the run is."""
_SECONDS_BETWEEN = 1.0
"""Between two writes of the file while nothing but steps changes."""


@final
@dataclass
class RunProgress:
    """How far a run is.

    Attributes:
        pipeline: its name.
        metric: that the run monitors.
        phase: what the run does: its stages, or comparing them.
        began: when it began, as `time.time`.
        ended: when it ended; None before.
        notices: warnings of the run so far, a line each, for a view in another process.
        pid: of the process that runs it.
        path: file that is kept up to date; None for none.
        judge: of the epochs of a stage, which may end the run; None for none.
        pruned: whether it did.
    """

    pipeline: str = ""
    metric: str = ""
    stages: list[StageProgress] = field(default_factory=list)
    phase: Literal["stages", "comparing", "ended"] = "stages"
    notices: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.time)
    ended: float | None = None
    pid: int = field(default_factory=os.getpid)
    path: Path | None = None
    judge: EpochJudge | None = None
    pruned: bool = False
    _written: float = 0.0

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Return what another process wrote; None where nothing is, or only the half of a write over a network."""
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        stages = [StageProgress(**stage) for stage in content.pop("stages")]
        return cls(stages=stages, **content)

    def add_stages(self, stages: Sequence[tuple[str, int]]) -> None:
        """Add the stages of a plan, names and epochs, in order; the judge, if there is one, chooses its stage."""
        if self.judge is not None:
            self.judge.choose(stages)
        self.stages += [StageProgress(name, epochs) for name, epochs in stages]
        self.changed(now=True)

    def stage(self, name: str) -> StageProgress:
        """Return a stage, added if the plan did not name it."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        self.stages.append(StageProgress(name))
        return self.stages[-1]

    def begin(self, name: str) -> None:
        """A stage is opened: another process may be building it."""
        stage = self.stage(name)
        stage.state, stage.began = "opening", time.time()
        self.changed(now=True)

    def build(self, name: str) -> StageProgress:
        """A stage is built; return it."""
        stage = self.stage(name)
        stage.state, stage.began = "training", time.time()
        self.changed(now=True)
        return stage

    def end(self, name: str, reused: bool, report: Mapping[str, Any]) -> None:
        """A stage is in the store, with its report; of a reused one the best value is from there."""
        stage = self.stage(name)
        stage.best = _kept(report) if stage.best is None else stage.best
        stage.state = "reused" if reused else "done"
        stage.seconds = None if reused or stage.began is None else time.time() - stage.began
        stage.left = None
        self.changed(now=True)

    def enter(self, phase: Literal["comparing", "ended"]) -> None:
        """The stages are done, or the run is."""
        self.phase, self.ended = phase, time.time() if phase == "ended" else None
        for stage in self.stages:
            stage.state = "stopped" if stage.state in RUNNING else stage.state
        self.changed(now=True)

    def seconds_left(self) -> float | None:
        """Return how long the stages still take, from the seconds of an epoch so far; None while none is known.

        A stage that waits is taken to need as long an epoch as those before it did on average, and nothing besides.
        """
        rates = [
            (stage.seconds or 0.0) / stage.epochs for stage in self.stages if stage.state == "done" and stage.epochs
        ]
        left = 0.0
        for stage in self.stages:
            if stage.state == "training" and stage.left is not None and stage.began is not None:
                left += stage.left
                rates.append((time.time() - stage.began + stage.left) / max(1, stage.epochs))
        waiting = sum(stage.epochs for stage in self.stages if stage.state == "waiting")
        unknown = any(stage.state in RUNNING and stage.left is None for stage in self.stages)
        if unknown or (waiting and not rates):
            return None
        return left + (waiting * sum(rates) / len(rates) if waiting else 0.0)

    def changed(self, now: bool = False) -> None:
        """Write the file, if there is one: at once, or if the last write is long enough ago."""
        if self.path is None or not (now or time.monotonic() - self._written > _SECONDS_BETWEEN):
            return
        self._written = time.monotonic()
        content = asdict(replace(self, judge=None))
        for name in ("path", "judge", "_written"):
            del content[name]
        draft = self.path.with_name(f".{self.path.name}.{self.pid}")
        draft.write_text(json.dumps(content), encoding="utf-8")
        os.replace(draft, self.path)


def _kept(report: Mapping[str, Any]) -> float | None:
    """Return the value of the epoch that a stage kept, as its report says."""
    for method in report.get("methods", {}).values():
        for table in method["tables"]:
            for row in table["rows"]:
                if "monitor" in row and isinstance(row.get("value"), float):
                    return float(row["value"])
    return None
