"""Probes: networks of given widths with random weights, and their latency on documents of typical length."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from clinlm.compression.costs import Architecture
from clinlm.engines.base import Answer, Engine, Rows
from clinlm.metrics.latency import Latency, measure
from clinlm.models import structure
from clinlm.models.model import Edit, Model, ModelSpec
from clinlm.tasks.batches import Batch
from clinlm.tasks.data import TaskData

TOKENS = 1000
"""Vocabulary size of a probe: a lookup takes no longer in a large table."""
_QUANTILES = (0.3, 0.4, 0.5, 0.6, 0.7)


def median_documents(data: TaskData) -> list[Batch]:
    """Return training documents of about the median length, each as a batch of its rows."""
    members = data.task.examples.members("train")
    order = members[np.argsort(data.encoded.lengths()[members], kind="stable")]
    places = sorted({round(quantile * (len(order) - 1)) for quantile in _QUANTILES})
    return [data.encoded.collate([int(order[place])]) for place in places]


def build_probe(model: Model, architecture: Architecture) -> Model:
    """Return a network of the kind of `model` with random weights and these widths, at most its original ones.

    Args:
        architecture: without removed layers.
    """
    layers = [layer for layer in architecture.layers if layer is not None]
    body: Any = model.network.body
    tokens = min(TOKENS, int(body.config.vocab_size))
    changed = structure.layer_settings(body.config, range(len(layers))) | {"vocab_size": tokens}
    if (body.config.pad_token_id or 0) >= tokens:
        changed["pad_token_id"] = 0
    spec = ModelSpec(dict(model.spec.config) | changed, model.spec.outputs, model.spec.pooling, model.spec.dropout)
    made = Model(spec, spec.build().eval(), model.tokenizer)
    heads, units = ({str(n): list(range(layer[part])) for n, layer in enumerate(layers)} for part in (0, 1))
    made.apply(Edit("clinlm.models.surgery.keep_heads", {"heads": heads}))
    made.apply(Edit("clinlm.models.surgery.keep_ffn_units", {"units": units}))
    made.apply(Edit("clinlm.models.surgery.keep_hidden", {"dimensions": list(range(architecture.hidden))}))
    if architecture.rank is not None:
        rank = min(architecture.rank, tokens, _width(made.network))
        made.apply(Edit("clinlm.models.surgery.factorize_embeddings", {"rank": rank}))
        for parameter in made.network.body.get_submodule(structure.word_embeddings_name(body)).parameters():
            nn.init.normal_(parameter, std=0.02)
    return made


def time_models(
    models: Mapping[str, Model], engine: Engine, batches: Sequence[Batch], passes: int, reference: str | None = None
) -> dict[str, Latency]:
    """Return the latency, from token ids to logits, of every model in `engine` on single documents."""
    with _exported(models, engine) as calls:
        inputs = [(batch["input_ids"].numpy(), batch["attention_mask"].numpy()) for batch in batches]
        return measure(calls, inputs, 2, passes, reference)


def probe_timer(
    model: Model, engine: Engine, batches: Sequence[Batch], passes: int
) -> Callable[[Sequence[Architecture]], list[float]]:
    """Return a function that times probes of the kind of `model`: medians over documents, in milliseconds."""
    few = min(TOKENS, int(model.network.body.config.vocab_size)) - 1  # type: ignore[union-attr,arg-type]
    known = [batch | {"input_ids": batch["input_ids"].clamp(max=few)} for batch in batches]

    def time(architectures: Sequence[Architecture]) -> list[float]:
        models = {str(number): build_probe(model, widths) for number, widths in enumerate(architectures)}
        return [latency.p50_ms for latency in time_models(models, engine, known, passes).values()]

    return time


@contextmanager
def _exported(models: Mapping[str, Model], engine: Engine) -> Iterator[dict[str, Callable[[Any], object]]]:
    with tempfile.TemporaryDirectory() as place:
        calls: dict[str, Callable[[Any], object]] = {}
        for name, model in models.items():
            folder = Path(place) / name
            folder.mkdir()
            engine.export(model, folder)
            calls[name] = partial(_answer, engine.open(folder))
        yield calls


def _answer(answer: Answer, inputs: tuple[Rows, Rows]) -> object:
    return answer(*inputs)


def _width(network: nn.Module) -> int:
    return int(structure.word_embeddings(network.body).embedding_dim)  # type: ignore[arg-type]
