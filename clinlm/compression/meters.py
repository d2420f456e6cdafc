"""What networks cost in fact, held beside what was predicted: one meter for every metric of a target."""

import tempfile
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np

from clinlm.compression.costs import Architecture, CostModel, ParameterCosts
from clinlm.compression.latency_table import Knots, measure_table
from clinlm.compression.probes import median_documents, probe_timer, time_models
from clinlm.compression.search import min_units
from clinlm.engines.base import find_engine
from clinlm.models import artifact as artifacts
from clinlm.models.model import Model
from clinlm.models.size import count_parameters, folder_bytes
from clinlm.tasks.base import Task
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.training.modules.base import Module

PASSES = 5
_LONG = 0.12345678901234567  # as many digits as a number of serving.json may have


class Meter(ABC):
    """Measures networks in one unit.

    Attributes:
        costs: predicts, part by part.
        now: what the network costs as it is.
    """

    costs: CostModel
    now: float

    @abstractmethod
    def measure(self, model: Model) -> tuple[float, float]:
        """Return what the network that was there costs, measured again beside it, and what `model` costs."""


class CountedParameters(Meter):
    """Numbers in all weights."""

    def __init__(self, module: Module) -> None:
        self.costs, self.now = ParameterCosts(module.network), float(count_parameters(module.network))

    def measure(self, model: Model) -> tuple[float, float]:
        """See `Meter.measure`."""
        return self.now, float(count_parameters(model.network))


class SavedBytes(Meter):
    """Bytes of the files of an artifact: weights as they are stored, what was done to them, the tokenizer."""

    def __init__(self, module: Module) -> None:
        self.task = module.task
        self.now = float(saved_bytes(module.model, self.task))
        each = next(module.network.parameters()).element_size()
        self.costs = ParameterCosts(module.network, each, self.now - each * count_parameters(module.network))

    def measure(self, model: Model) -> tuple[float, float]:
        """See `Meter.measure`."""
        return self.now, float(saved_bytes(model, self.task))


class MeasuredLatency(Meter):
    """Milliseconds for a document, alone, as an engine runs the network with the threads of this process.

    Args:
        module: gives the network and the training documents whose lengths count.
        engine: its name.
    """

    def __init__(self, module: Module, engine: str) -> None:
        self.model, self.engine, self.batches = module.model, find_engine(engine), median_documents(module.data)
        now = Architecture.read(module.network)
        layers = [layer for layer in now.layers if layer is not None]
        heads, units = (max(layer[part] for layer in layers) for part in (0, 1))
        knots = Knots.of(now.hidden, heads, units, min(min_units(layer[1]) for layer in layers))
        table = measure_table(knots, now.hidden // 2 or 1, probe_timer(self.model, self.engine, self.batches, PASSES))
        self.costs = table
        self.now = time_models({"now": self.model}, self.engine, self.batches, PASSES)["now"].p50_ms

    def measure(self, model: Model) -> tuple[float, float]:
        """See `Meter.measure`."""
        found = time_models({"now": self.model, "pruned": model}, self.engine, self.batches, PASSES)
        return found["now"].p50_ms, found["pruned"].p50_ms


def saved_bytes(model: Model, task: Task) -> int:
    """Return the bytes of an artifact of `model`: with the longest `serving.json` that it can come to have."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        artifacts.save(model, folder)
        labels = task.examples.labels
        thresholds = np.full(len(labels), _LONG) if task.kind == "multilabel" else None
        limit = min(model.max_tokens, task.max_tokens)
        InferenceConfig(task.kind, labels, thresholds, limit, task.long_notes, 1 + _LONG).save(folder)
        return folder_bytes(folder, artifacts.NOT_DEPLOYED)
