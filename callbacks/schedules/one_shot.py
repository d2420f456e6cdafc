"""A schedule without gradual steps."""

from typing import final

from callbacks.schedules.base import Schedule


@final
class OneShot(Schedule):
    """The final ratio from the start, before any training."""

    def share(self, progress: float) -> float:
        return 1.0
