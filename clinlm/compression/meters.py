"""Measured costs of networks, next to predicted ones: one meter per metric of a target."""

import tempfile
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np

from clinlm.compression.costs import Architecture, CostModel, ParameterCosts
from clinlm.compression.latency_table import Knots, measure_table
from clinlm.compression.probes import median_documents, probe_timer, time_models
from clinlm.compression.search import min_units
from clinlm.engines.base import find_engine
from clinlm.metrics.conformal import COVERAGES, ConformalThresholds
from clinlm.models import artifact as artifacts
from clinlm.models.model import Model
from clinlm.models.size import count_parameters, folder_bytes
from clinlm.tasks.base import Task
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.training.modules.base import Module

PASSES = 5
_LONG = 0.12345678901234567  # the maximum number of digits in serving.json


class Meter(ABC):
    """Measures networks in one unit.

    Attributes:
        now: cost of the unpruned network.
    """

    costs: CostModel
    now: float

    @abstractmethod
    def measure(self, model: Model) -> tuple[float, float]:
        """Return the costs of the unpruned network, measured again, and of `model`."""


class CountedParameters(Meter):
    """Number of parameters."""

    def __init__(self, module: Module) -> None:
        self.costs, self.now = ParameterCosts(module.network), float(count_parameters(module.network))

    def measure(self, model: Model) -> tuple[float, float]:
        return self.now, float(count_parameters(model.network))


class SavedBytes(Meter):
    """Bytes of the files of an artifact: weights, edits, tokenizer."""

    def __init__(self, module: Module) -> None:
        self.task = module.task
        self.now = float(saved_bytes(module.model, self.task))
        each = next(module.network.parameters()).element_size()
        self.costs = ParameterCosts(module.network, each, self.now - each * count_parameters(module.network))

    def measure(self, model: Model) -> tuple[float, float]:
        return self.now, float(saved_bytes(model, self.task))


class MeasuredLatency(Meter):
    """Milliseconds per single document of the network in an engine, with the threads of this process.

    Args:
        module: has the network and training documents of typical length.
        engine: see `clinlm.engines.base.find_engine`.
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
        found = time_models({"now": self.model, "pruned": model}, self.engine, self.batches, PASSES)
        return found["now"].p50_ms, found["pruned"].p50_ms


def make_meter(metric: str, module: Module, engine: str) -> Meter:
    """Return the meter for a metric of `Target`; `engine` measures latencies."""
    if metric == "parameters":
        return CountedParameters(module)
    return SavedBytes(module) if metric == "bytes" else MeasuredLatency(module, engine)


def saved_bytes(model: Model, task: Task) -> int:
    """Return the bytes of an artifact of `model`, with the longest possible `serving.json`."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        artifacts.save(model, folder)
        labels = task.examples.labels
        thresholds = np.full(len(labels), _LONG) if task.kind == "multilabel" else None
        limit = min(model.max_tokens, task.max_tokens)
        each = (_LONG,) * len(labels)
        present, absent = () if task.by_word else each, each if task.kind == "multilabel" else ()
        sets = tuple(ConformalThresholds(coverage, _LONG, present, absent) for coverage in COVERAGES)
        config = InferenceConfig(task.kind, labels, thresholds, limit, task.long_notes, 1 + _LONG, conformal=sets)
        config.save(folder)
        return folder_bytes(folder, artifacts.NOT_DEPLOYED)
