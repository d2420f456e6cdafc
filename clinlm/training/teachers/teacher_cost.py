"""Size and training time of a teacher."""

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class TeacherCost:
    """Parameters, those that are not 0, bytes on disk, and seconds of training."""

    parameters: int
    nonzero: int
    bytes: int
    seconds: float
