"""What every adapter promises."""

from abc import ABC, abstractmethod

from clinlm.models.model import Network


class Adapter(ABC):
    """What learns while a stage trains. Attached after structural changes, merged before the artifact is saved."""

    @abstractmethod
    def attach(self, network: Network) -> None:
        """Prepare `network` for training; nothing it computes may change."""

    @abstractmethod
    def merge(self, network: Network) -> None:
        """Undo `attach`, keeping what was learnt: afterwards `network` has the modules it had before."""
