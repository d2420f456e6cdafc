"""Laws of dynamic INT8: which layers, at what error and size, that zeros stay zero, and that nothing comes after."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.pipelines import FAST, built, kept, reported
from torch import nn

from callbacks.factorize.svd import Svd
from callbacks.prune.depth import Depth
from callbacks.prune.heads import Heads
from callbacks.prune.magnitude import Magnitude
from callbacks.prune.random import Random
from callbacks.prune.smart_griffin import SmartGriffin
from callbacks.quantize.dynamic import Dynamic
from clinlm.config.errors import ModelError
from clinlm.models.adapters.full import Full
from clinlm.models.initializers.from_teacher import FromTeacher
from clinlm.models.layers.int8_embedding import Int8Embedding
from clinlm.models.layers.int8_linear import Int8Linear
from clinlm.models.model import Model
from clinlm.models.size import count_parameters
from clinlm.tasks.data import TaskData
from clinlm.tasks.multilabel import MultiLabel
from clinlm.training.modules.base import predict
from clinlm.training.modules.teacher import Teacher

pytestmark = pytest.mark.usefixtures("quick")


def int8(model: Model) -> dict[str, Int8Linear]:
    return {name: m for name, m in model.network.named_modules() if isinstance(m, Int8Linear)}


def tables(model: Model) -> dict[str, Int8Embedding]:
    return {name: m for name, m in model.network.named_modules() if isinstance(m, Int8Embedding)}


def floats(model: Model) -> dict[str, nn.Linear | nn.Embedding]:
    return {name: m for name, m in model.network.named_modules() if isinstance(m, nn.Linear | nn.Embedding)}


def test_every_linear_layer_and_table_becomes_int8(tmp_path: Path, task: MultiLabel, tiny_model: Model) -> None:
    start = kept(tiny_model, tmp_path / "start")
    made = built(tmp_path / "made", task, start, {"quantize": Dynamic()})
    before, after = floats(start.load()), int8(made.load()) | tables(made.load())
    assert before.keys() == after.keys() and not floats(made.load()) and "head" in after
    assert "body.embeddings.word_embeddings" in after
    told = {row.layer: row for row in reported(made, "quantize")}
    assert told.keys() == after.keys()
    for name, layer in after.items():
        weight, row = before[name].weight.detach(), told[name]
        assert ((layer.dequantized() - weight).abs() <= layer.scale[:, None] * 0.5001).all()
        off = float((layer.dequantized() - weight).norm() / weight.norm())
        assert row.relative_error == pytest.approx(off, rel=1e-3) and 0 < off < 0.04
        biases = len(weight) if isinstance(layer, Int8Linear) else 0
        assert row.bytes_before == 4 * (weight.numel() + biases)
        assert row.bytes_after == weight.numel() + 4 * (len(weight) + biases)
        assert not row.spared and row.sensitivity is None
    assert made.report["parameters"] == count_parameters(start.load().network)
    saved = sum(row.bytes_before - row.bytes_after for row in told.values())
    sizes = [(one.folder / "model.safetensors").stat().st_size for one in (start, made)]
    assert sizes[0] - sizes[1] == pytest.approx(saved, abs=8000)  # the header of the file has names


def test_it_answers_like_the_float_network(tmp_path: Path, task: MultiLabel, tiny_model: Model) -> None:
    """And a loaded artifact answers, to the bit, what the stage wrote down."""
    start = kept(tiny_model, tmp_path / "start")
    trained = built(tmp_path / "trained", task, start, {}, epochs=3)
    made = built(tmp_path / "made", task, trained, {"quantize": Dynamic()})
    float_, int_ = trained.predictions("test"), made.predictions("test")
    assert 0 < np.abs(float_ - int_).max() < 0.05 * np.abs(float_).max()
    model = made.load()
    data = TaskData(task, model.tokenizer, model.max_tokens)
    loader = data.loader(task.examples.members("test"), 1)
    np.testing.assert_array_equal(predict(model.network, loader, task.long_notes)[1], int_)


def test_what_trains_in_the_same_stage_is_quantised_after(tmp_path: Path, task: MultiLabel, tiny_model: Model) -> None:
    start = kept(tiny_model, tmp_path / "start")
    trained = built(tmp_path / "trained", task, start, {}, epochs=2)
    both = built(tmp_path / "both", task, start, {"quantize": Dynamic()}, epochs=2)
    after = built(tmp_path / "after", task, trained, {"quantize": Dynamic()})
    one, other = both.load().network.state_dict(), after.load().network.state_dict()
    assert one.keys() == other.keys() and all(tensor.equal(other[name]) for name, tensor in one.items())


def test_zeros_and_widths_and_ranks_are_kept(tmp_path: Path, task: MultiLabel, tiny_model: Model) -> None:
    with torch.no_grad():
        tiny_model.network.head.weight[:, ::2] = 0
    start = kept(tiny_model, tmp_path / "start")
    methods = {"prune": Heads(0.25, 4), "factorize": Svd(4, targets=["up"]), "quantize": Dynamic()}
    layers = int8(built(tmp_path / "made", task, start, methods).load())
    assert (layers["head"].weight[:, ::2] == 0).all() and (layers["head"].weight[:, 1::2] != 0).any()
    assert layers["body.encoder.layer.1.intermediate.dense.down"].out_features == 4
    assert {layers[f"body.encoder.layer.{n}.attention.self.query"].out_features for n in range(4)} == {16, 32}


def test_what_is_skipped_stays_float(task: MultiLabel, tiny_model: Model) -> None:
    method = Dynamic(skip=["head", "output.dense", "self.query", "word_embeddings"])
    method.finalize(Teacher(tiny_model, TaskData(task, tiny_model.tokenizer, 32), Full(), FAST))
    left = {name.removeprefix("body.encoder.layer.") for name in floats(tiny_model)}
    ends = ("attention.self.query", "attention.output.dense", "output.dense")
    words = "body.embeddings.word_embeddings"
    assert left == {"head", words, *(f"{n}.{end}" for n in range(4) for end in ends)}
    assert len(method.report().rows) == len(int8(tiny_model)) + len(tables(tiny_model)) == 4 * 3 + 2


AFTER = [
    *(partial(make, 0.5) for make in (Magnitude, SmartGriffin, Random, Depth, Heads)),
    partial(SmartGriffin, statistic="activation"),
    partial(Svd, 4),
    Dynamic,
]


@pytest.mark.parametrize("make", AFTER)
def test_no_method_comes_after(tmp_path: Path, task: MultiLabel, tiny_model: Model, make: Any) -> None:
    start = kept(tiny_model, tmp_path / "start")
    made = built(tmp_path / "made", task, start, {"quantize": Dynamic()})
    with pytest.raises(ModelError, match="weights must be floats to train, prune or factorise"):
        built(tmp_path / "after", task, made, {"method": make()})


def test_no_student_comes_after(task: MultiLabel, tiny_model: Model) -> None:
    Int8Linear.edit(["head", "body.encoder.layer.3.output.dense"])(tiny_model.network)
    for student in (FromTeacher(2), FromTeacher(2, 16)):
        with pytest.raises(ModelError, match="weights must be floats"):
            student.begin(task, tiny_model)


def test_weights_that_are_no_numbers_are_refused(task: MultiLabel, tiny_model: Model) -> None:
    with torch.no_grad():
        tiny_model.network.head.weight[0, 0] = torch.nan
    with pytest.raises(ModelError, match="must be finite, got NaN or infinity in head"):
        Dynamic().finalize(Teacher(tiny_model, TaskData(task, tiny_model.tokenizer, 32), Full(), FAST))


def test_skipping_everything_raises(tmp_path: Path, task: MultiLabel, tiny_model: Model) -> None:
    embeddings = [f"{kind}_embeddings" for kind in ("word", "position", "token_type")]
    every = ["head", "dense", "query", "key", "value", *embeddings]
    with pytest.raises(RuntimeError, match=r"left every tensor as it was \(no layer is left with skip="):
        built(tmp_path / "made", task, kept(tiny_model, tmp_path / "start"), {"quantize": Dynamic(every)})


def test_wrong_settings_are_refused(tmp_path: Path, task: MultiLabel, tiny_model: Model) -> None:
    with pytest.raises(ValueError, match="quantize.skip must be a list, got 'head'"):
        Dynamic(skip="head")
    with pytest.raises(ValueError, match=r"quantize.skip must match .*, got \['heads'\]; endings: \['dense', 'head'"):
        built(tmp_path / "made", task, kept(tiny_model, tmp_path / "start"), {"quantize": Dynamic(["heads"])})
