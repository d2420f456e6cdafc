"""What every engine promises: to write a model as files of its own, to answer from them, to show what they hold."""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Protocol, final

from jaxtyping import Float, Int
from torch import Tensor

from clinlm.engines.matrix import Matrix
from clinlm.models.model import Model

Rows = Int[Tensor, "rows tokens"]
Answer = Callable[[Rows, Rows], Float[Tensor, "rows outputs"]]
"""From token ids and their mask (1 where there is a token) to logits, on the CPU."""


class EngineSelection(Protocol):
    """Which engines are to be tried: an engine stands for itself, `engine=auto` for all that are installed."""

    def candidates(self) -> Sequence["Engine"]:
        """Return them; the fastest of several that keep to the artifact's answers is chosen."""
        ...


class Engine(ABC):
    """Runs a model on the CPU. Subclasses are final.

    Args:
        tolerance: largest difference of a probability from the artifact's own that an export of floats may show.
        integer_tolerance: the same of a network with layers of integers. A value that one way to compute rounds up and
            another down moves all that follows: of 1,600 probabilities of MiniLM in INT8, torch and the exact
            arithmetic (float64) differed by .076 in one and by .0012 on average, other engines as much.
        mean_tolerance: largest mean difference, which no such accident moves.
        agreement: least share of decisions (documents x labels) that an export shares with the artifact.

    Raises:
        ValueError: one of them is no share.
    """

    name: ClassVar[str]
    """As in `engine=name`."""

    def __init__(
        self,
        tolerance: float = 0.001,
        integer_tolerance: float = 0.25,
        mean_tolerance: float = 0.005,
        agreement: float = 0.995,
    ) -> None:
        limits = {
            "tolerance": tolerance,
            "integer_tolerance": integer_tolerance,
            "mean_tolerance": mean_tolerance,
            "agreement": agreement,
        }
        for name, share in limits.items():
            if not 0 <= share <= 1:
                raise ValueError(f"engine.{name} lies in [0, 1]; got {share}")
        self.limits = limits

    @final
    def candidates(self) -> Sequence["Engine"]:
        """See `EngineSelection.candidates`."""
        return [self]

    @abstractmethod
    def missing(self) -> str:
        """Return what has to be installed before this engine can be used; "" if nothing."""

    @abstractmethod
    def version(self) -> str:
        """Return the version of what runs the model: another one makes another deployment."""

    @abstractmethod
    def export(self, model: Model, folder: Path) -> None:
        """Write the files of the engine into `folder`."""

    @abstractmethod
    def open(self, folder: Path, threads: int | None = None) -> Answer:
        """Return what answers from the files in `folder`.

        Args:
            folder: what `export` wrote.
            threads: to compute with; None for the engine's own choice, usually every core.
        """

    @abstractmethod
    def matrices(self, folder: Path) -> list[Matrix]:
        """Return every matrix of weights in the files."""

    @abstractmethod
    def integer_products(self, folder: Path) -> int:
        """Return how many matrix products the engine will compute in integers, as it says itself."""


NAMES = ("onnxruntime", "openvino", "torch", "torch_compiled")


def find_engine(name: str, *limits: float) -> Engine:
    """Return the engine called `name`; `limits` as the arguments of `Engine`.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in NAMES:
        raise ValueError(f"engine must be one of {', '.join(NAMES)}, got {name!r}")
    module = importlib.import_module(f"clinlm.engines.{name}")
    found: type[Engine] = next(
        kind for kind in vars(module).values() if isinstance(kind, type) and getattr(kind, "name", "") == name
    )
    return found(*limits)
