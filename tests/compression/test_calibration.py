"""Laws of calibrated inputs: padding does not count, and what is made of outliers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.pipelines import FAST, built, kept
from torch import Tensor, nn

from callbacks.quantize.smoothquant import Smoothquant
from callbacks.quantize.static import Static
from clinlm.compression.approximation import smoothing_factors
from clinlm.compression.calibration import input_histograms, input_ranges, layer_range
from clinlm.compression.observation import token_inputs
from clinlm.compression.observers import BINS
from clinlm.models import structure
from clinlm.models.adapters.full import Full
from clinlm.models.artifact import Artifact
from clinlm.models.model import Model
from clinlm.tasks.data import TaskData
from clinlm.tasks.multilabel import MultiLabel
from clinlm.training.modules.teacher import Teacher

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def module(task: MultiLabel, tiny_model: Model) -> Teacher:
    data = TaskData(task, tiny_model.tokenizer, tiny_model.max_tokens)
    return Teacher(tiny_model, data, Full(), FAST)


def linears(module: Teacher) -> dict[str, nn.Linear]:
    return {name: m for name, m in module.network.named_modules() if isinstance(m, nn.Linear)}


def unpadded(module: Teacher, documents: int, seed: int) -> dict[str, Tensor]:
    """The slow way to what every layer reads: one row at a time, so that there is no padding."""
    seen: dict[str, list[Tensor]] = {name: [] for name in linears(module)}
    handles = [
        layer.register_forward_pre_hook(lambda _, given, name=name: seen[name].append(given[0].flatten(0, -2)))
        for name, layer in linears(module).items()
    ]
    module.network.eval()
    with torch.no_grad():
        for batch in module.data.calibration(documents, seed):
            for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True):
                length = int(mask.sum())
                module.network(ids[None, :length], mask[None, :length])
    for handle in handles:
        handle.remove()
    return {name: torch.cat(parts) for name, parts in seen.items()}


def test_ranges_are_those_without_padding(module: Teacher) -> None:
    found, slow = input_ranges(module, linears(module), 12, 3), unpadded(module, 12, 3)
    lengths = {int(m.sum()) for b in module.data.calibration(12, 3) for m in b["attention_mask"]}
    assert len(lengths) > 3, "there is padding to leave out"
    for name, (low, high) in found.items():
        torch.testing.assert_close(low, slow[name].amin(0), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(high, slow[name].amax(0), atol=1e-5, rtol=1e-5)
    assert not any(linear._forward_pre_hooks for linear in linears(module).values())


def test_every_input_of_a_token_is_counted_once(module: Teacher) -> None:
    layers = linears(module)
    spans = {name: layer_range(one, None) for name, one in input_ranges(module, layers, 12, 3).items()}
    spans["head"] = (0.0, 1.0)  # what lies beyond is counted at the ends
    counts, slow = input_histograms(module, layers, spans, {}, 12, 3), unpadded(module, 12, 3)
    for name, one in counts.items():
        assert one.sum() == slow[name].numel() and one.shape == (BINS,)
        low, high = spans[name]
        wanted = np.histogram(slow[name].clamp(low, high).double(), 8, (low, high))[0]
        assert np.abs(one.reshape(8, -1).sum(1) - wanted).max() <= max(3, 0.002 * one.sum())


def test_documents_are_drawn_by_the_seed(module: Teacher) -> None:
    heads = [input_ranges(module, {"head": linears(module)["head"]}, 4, seed)["head"][0] for seed in (0, 0, 1)]
    assert heads[0].equal(heads[1]) and not heads[0].equal(heads[2])


def test_what_is_given_nothing_to_read_is_named(module: Teacher) -> None:
    with pytest.raises(RuntimeError, match=r"does not use \['idle'\]; add to quantize.skip"):
        input_ranges(module, {"head": linears(module)["head"], "idle": nn.Linear(2, 2)}, 2, 0)


def test_inputs_that_are_no_tokens_count_in_full() -> None:
    mask = torch.tensor([[True, False], [True, True]])
    assert token_inputs(torch.arange(8.0).reshape(2, 2, 2), mask).tolist() == [[0, 1], [4, 5], [6, 7]]
    assert token_inputs(torch.ones(2, 3), mask).shape == (2, 3)
    assert token_inputs(torch.ones(2, 5, 3), mask).shape == (10, 3)


def test_smoothing_by_hand() -> None:
    """Equation 4 with alpha = 1/2: the square root of largest input over largest weight, column by column."""
    weight = torch.tensor([[1.0, -2.0, 0.0], [-4.0, 1.0, 0.0]])
    found = smoothing_factors(torch.tensor([16.0, 0.5, 0.0]), weight, 0.5)
    assert found.tolist() == pytest.approx([2.0, 0.5, 1.0])
    assert smoothing_factors(torch.tensor([16.0, 0.5, 3.0]), weight, 1.0).tolist() == pytest.approx([16.0, 0.5, 3.0])
    assert smoothing_factors(torch.ones(3), weight, 0.0).tolist() == pytest.approx([1 / 4, 1 / 2, 1e5])


def off(folder: Path, task: MultiLabel, start: Artifact, method: Any) -> float:
    """How far the logits of test documents are from those of the float model."""
    made = built(folder, task, start, {"quantize": method}).predictions("test")
    whole = built(folder.with_name(f"{folder.name}_float"), task, start, {}).predictions("test")
    return float(np.square(made - whole).mean())


def test_smoothing_helps_where_one_channel_is_large(tmp_path: Path, task: MultiLabel, tiny_model: Model) -> None:
    """One input of every output projection and second FFN layer is 200 times the others, its weights less."""
    with torch.no_grad():
        for layer in structure.layers(tiny_model.network.body):
            for writer, reader in ((layer.value, layer.attention_output), (layer.up, layer.down)):
                writer.weight.mul_(10)  # so that the layers matter
                reader.weight.mul_(10)
                writer.weight[5] *= 200
                reader.weight[:, 5] /= 200
    start = kept(tiny_model, tmp_path / "start")
    others = ["head", *(f"{kind}_embeddings" for kind in ("word", "position", "token_type"))]
    plain = off(tmp_path / "plain", task, start, Static(skip=others))
    for alpha in (0.5, 0.8):
        assert off(tmp_path / str(alpha), task, start, Smoothquant(alpha, skip=others)) < 0.5 * plain


def test_percentiles_help_where_few_inputs_are_large(tmp_path: Path, task: MultiLabel, tiny_model: Model) -> None:
    """One unit of every FFN is a thousand, for half a per cent of the tokens, and nobody reads it."""
    with torch.no_grad():
        for layer in structure.layers(tiny_model.network.body):
            layer.up.weight[0] *= 1e4
            layer.down.weight[:, 0] = 0
    data = TaskData(task, tiny_model.tokenizer, tiny_model.max_tokens)
    module = Teacher(tiny_model, data, Full(), FAST)
    for number, layer in enumerate(structure.layers(tiny_model.network.body)):
        seen = unpadded(module, 60, 0)[f"body.encoder.layer.{number}.intermediate.dense"] @ layer.up.weight[0].detach()
        with torch.no_grad():
            layer.up.bias[0] = -float(seen.quantile(0.995))
    start = kept(tiny_model, tmp_path / "start")
    whole, cut, entropy = (
        off(tmp_path / f"{observer}{percentile}", task, start, Static(60, observer, percentile))  # type: ignore[arg-type]
        for observer, percentile in (("minmax", 100.0), ("percentile", 99.9), ("entropy", 100.0))
    )
    assert cut < 0.5 * whole and entropy < whole
