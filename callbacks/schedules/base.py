"""The base class of schedules."""

from abc import ABC, abstractmethod


class Schedule(ABC):
    """The share of a method's final ratio that is in force during training. Subclasses are final.

    A method acts whenever the share has changed, so a stepped share also sets how often it acts.
    """

    @abstractmethod
    def share(self, progress: float) -> float:
        """Return the share of the final ratio that is in force, in [0, 1]; it never falls, and ends at 1.

        Args:
            progress: share of the optimiser steps done, in [0, 1].
        """
