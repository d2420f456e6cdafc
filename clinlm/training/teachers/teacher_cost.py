"""What a teacher takes."""

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class TeacherCost:
    """What a member takes: numbers in it, those that are not 0, bytes on disk, seconds of training."""

    parameters: int
    nonzero: int
    bytes: int
    seconds: float
