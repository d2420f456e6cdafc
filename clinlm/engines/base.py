"""Base class of engines, which run models outside of training."""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, final

import numpy as np
from jaxtyping import Float, Int

import clinlm.engines
from clinlm.config.class_paths import OTHER_VERSION, OWN_PACKAGES, class_path, load_class, load_stored_class
from clinlm.config.errors import ConfigError, ModelError
from clinlm.config.ranges import check_interval

if TYPE_CHECKING:  # opening a model must not import torch unless its engine needs it
    from clinlm.models.layers.base import Matrix
    from clinlm.models.model import Model

Rows = Int[np.ndarray, "rows tokens"]
Logits = Float[np.ndarray, "rows ... outputs"]
Answer = Callable[[Rows, Rows], Logits]
"""From token ids and their mask (1 on tokens, 0 on padding) to logits, on the CPU."""

ONNX = "model.onnx"
NETWORK_FILES = ("spec.json", "edits.json", "model.safetensors")
"""Of an artifact: its network."""
OUTPUT = "logits"
"""Name of the output of an exported graph."""


class EngineSelection(Protocol):
    """Engines to try: a single engine, or with `engine=auto` all installed ones."""

    def candidates(self) -> Sequence["Engine"]:
        """Return the engines; of several, the fastest whose predictions match the artifact's is kept."""
        ...


class Engine(ABC):
    """Runs models on the CPU. Subclasses are final.

    Args:
        tolerance: largest allowed difference of a probability from the artifact's, for exports of float networks.
        integer_tolerance: the same for networks with integer layers, where a value that two implementations round
            differently changes everything after it: of 1,600 probabilities of MiniLM in INT8, torch and the exact
            arithmetic (float64) differed by .076 in one and by .0012 on average, other engines as much.
        mean_tolerance: largest allowed mean difference, to which single roundings contribute little.
        agreement: smallest allowed share of decisions (documents x labels) that equal the artifact's.

    Raises:
        ConfigError: one of them is not in [0, 1].
    """

    name: ClassVar[str]
    """As in `engine=name`."""

    architectures: ClassVar[frozenset[str] | None] = None
    """`model_type` of the encoders that it runs; None for any. Among several engines it is tried on these alone."""

    reads_onnx: ClassVar[bool] = False
    """Whether it opens `model.onnx`, whichever engine exported it."""

    files: tuple[str, ...] = ()
    """What it exports and opens: files of its own kind, or `model.onnx` alone, from which other engines can answer too.
    Empty for engines from elsewhere, which say themselves what they miss."""

    def __init__(
        self,
        tolerance: float = 0.001,
        integer_tolerance: float = 0.25,
        mean_tolerance: float = 0.005,
        agreement: float = 0.995,
    ) -> None:
        self.limits = {
            "tolerance": tolerance,
            "integer_tolerance": integer_tolerance,
            "mean_tolerance": mean_tolerance,
            "agreement": agreement,
        }
        for name, share in self.limits.items():
            check_interval(f"engine.{name}", share, "[0, 1]")

    @final
    def candidates(self) -> Sequence["Engine"]:
        """Return this engine alone."""
        return [self]

    @abstractmethod
    def missing(self) -> str:
        """Return what has to be installed before this engine can be used; "" if nothing."""

    @abstractmethod
    def version(self) -> str:
        """Return the version of the runtime, which is part of the key of a deployment."""

    @abstractmethod
    def export(self, model: "Model", folder: Path) -> None:
        """Write the engine's files into `folder`."""

    @abstractmethod
    def open(self, folder: Path, threads: int | None = None) -> Answer:
        """Return a function that computes logits from the files in `folder`.

        Args:
            folder: written by `export`.
            threads: number of threads; None for the engine's default, usually every core.
        """

    @abstractmethod
    def matrices(self, folder: Path) -> "list[Matrix]":
        """Return every weight matrix in the files."""

    @abstractmethod
    def integer_products(self, folder: Path) -> int:
        """Return how many matrix products the runtime computes in integers, according to the runtime itself."""


def engine_names() -> list[str]:
    """Return the names of clinlm's own engines: `engine=torch` is the class `Torch` in clinlm/engines/torch.py."""
    modules = (module.name for module in pkgutil.iter_modules(clinlm.engines.__path__))
    return [name for name in modules if _own_engine(name) is not None]


def find_engine(name: str, *limits: float) -> Engine:
    """Return an engine by the name of clinlm's own or by the dotted path of a class, for engines from elsewhere.

    Args:
        name: `openvino`, or for example `my_package.tensorrt.TensorRt`.
        limits: see the arguments of `Engine`.

    Raises:
        ConfigError: there is no engine of this name.
        ModelError: there is no subclass of `Engine` at this path.
    """
    if "." in name:
        from clinlm.config.targets import check_target  # here: it imports Hydra, which answering needs not

        check_target(name, "engine")
        return load_class(name, Engine)(*limits)  # type: ignore[type-abstract]
    found = _own_engine(name)
    if found is None:
        raise ConfigError(
            f"engine must be one of {', '.join(engine_names())}, or the dotted path of a class, got {name!r}"
        )
    return found(*limits)


def stored_engine(facts: Mapping[str, Any]) -> Engine:
    """Return the engine of a deployment.

    Args:
        facts: of the deployment: `engine`, a name; `engine_class`, a dotted path, and `files`, which early deployments
            lack.

    Raises:
        ModelError: clinlm has no such engine, and no package that this process has imported has one.
    """
    path = str(facts.get("engine_class", OWN_PACKAGES[0]))
    found = _own_engine(str(facts["engine"])) if path.startswith(OWN_PACKAGES) else load_stored_class(path, Engine)  # type: ignore[type-abstract]
    if found is None:
        raise ModelError(f"a deployment with the engine {facts['engine']!r} {OTHER_VERSION}")
    engine = found()
    return on_onnx(engine) if engine.reads_onnx and facts.get("files") == [ONNX] else engine


def onnx_engine(name: str) -> Engine | None:
    """Return clinlm's own engine of this name, told to open `model.onnx`; None where there is none that can.

    No module of another engine is imported.
    """
    found = _own_engine(name)
    return on_onnx(found()) if found is not None and found.reads_onnx else None


def on_onnx(engine: Engine) -> Engine:
    """Return an engine after telling it to export and open `model.onnx`."""
    engine.files = (ONNX,)
    return engine


def _own_engine(name: str) -> type[Engine] | None:
    """Return the engine class of the module `name` of this package, if it has one."""
    if not name.isidentifier() or f"{__package__}.{name}" == __name__:
        return None
    try:
        module = importlib.import_module(f"{__package__}.{name}")
    except ModuleNotFoundError:
        return None
    classes = (value for value in vars(module).values() if isinstance(value, type) and issubclass(value, Engine))
    return next((kind for kind in classes if kind is not Engine and kind.name == name), None)


def engine_path(engine: Engine) -> str:
    """Return the dotted path by which `find_engine` finds the class of an engine."""
    return class_path(type(engine))
