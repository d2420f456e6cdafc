"""How far a stage is, as plain data."""

from dataclasses import dataclass
from typing import Literal, final

State = Literal["waiting", "opening", "reused", "training", "measuring", "done", "stopped"]


@final
@dataclass
class StageProgress:
    """How far a stage is.

    Attributes:
        epochs: that it is to train; 0 where nothing learns.
        epoch: that is being trained, from 1; 0 before the first.
        step: batches of the epoch that are done, of `steps`.
        metric: that decides which epoch is kept, without `val/`.
        now: its value after the last epoch.
        best: its best value.
        began: seconds of the clock `time.time` when the stage began; None before.
        seconds: that the stage took; None until it ends.
        left: seconds that training still needs, extrapolated; None while that is not known.
    """

    name: str
    epochs: int = 0
    state: State = "waiting"
    epoch: int = 0
    step: int = 0
    steps: int = 0
    metric: str = ""
    now: float | None = None
    best: float | None = None
    began: float | None = None
    seconds: float | None = None
    left: float | None = None
