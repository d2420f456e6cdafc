"""Base class of adapters."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor

from clinlm.models.model import Network


class Adapter(ABC):
    """Decides what learns in training. Attached after structural changes, merged before the artifact is saved.

    Attributes:
        learning_rate_factor: multiplies the peak learning rate of the body. Few numbers need larger steps.
    """

    wraps: ClassVar[bool] = False
    """Whether it puts modules around linear layers, which simulated quantisation would not round."""

    splits: ClassVar[bool] = False
    """Whether linear layers hold only a part of their weight while it is attached, so that nothing may rank them."""

    learning_rate_factor: float = 1.0

    def check(self, network: Network) -> None:  # noqa: B027  not every adapter has limits
        """Raise what `attach` would raise, without attaching: shapes and names decide, values do not."""

    @abstractmethod
    def attach(self, network: Network) -> None:
        """Prepare `network` for training without changing what it computes."""

    @abstractmethod
    def merge(self, network: Network) -> None:
        """Undo `attach` but keep what was learnt: `network` has its original modules again and computes the same."""

    def schedule(self, network: Network, steps: int) -> None:  # noqa: B027  as the rest, optional
        """Take notice of the number of optimiser steps; called before the first one, also of a resumed fit."""

    def penalty(self, network: Network) -> Tensor | None:
        """Return what a training step adds to the loss; None for nothing."""
        return None

    def step(self, network: Network, step: int) -> None:  # noqa: B027
        """Act after optimiser step number `step`, counted from 1, while its gradients are still there."""

    def state(self, network: Network) -> dict[str, Any]:
        """Return what a checkpoint needs besides the tensors of `network`: tensors and plain data."""
        return {}

    def restore(self, network: Network, state: dict[str, Any]) -> None:  # noqa: B027
        """Restore what `state` returned."""
