"""What every schedule promises."""

from abc import ABC, abstractmethod


class Schedule(ABC):
    """How much of a method's final ratio is in force, as training goes on. Subclasses are final.

    A method acts whenever the share has changed, so a share that rises in stairs is also how often it acts.
    """

    @abstractmethod
    def share(self, progress: float) -> float:
        """Return the share of the final ratio that is in force; it never falls, and it is 1 at the end.

        Args:
            progress: share of the optimiser steps that are done, in [0, 1].
        """
