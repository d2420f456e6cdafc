"""Base class of adapters."""

from abc import ABC, abstractmethod

from clinlm.models.model import Network


class Adapter(ABC):
    """Decides what learns in training. Attached after structural changes, merged before the artifact is saved."""

    @abstractmethod
    def attach(self, network: Network) -> None:
        """Prepare `network` for training without changing what it computes."""

    @abstractmethod
    def merge(self, network: Network) -> None:
        """Undo `attach` but keep what was learnt: `network` has its original modules again."""
