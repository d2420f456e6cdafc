"""Laws of INT8 layers: their arithmetic in slow steps, that they pack what they hold, and what they refuse."""

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.families import PARAMETERS, network, rows, spec
from torch import Tensor, nn

from clinlm.models import artifact
from clinlm.models.layers.int8_linear import Int8Linear
from clinlm.models.layers.rounding import quantize_rows
from clinlm.models.model import Model
from clinlm.models.size import count_nonzero, count_parameters


def linear(inputs: int = 20, outputs: int = 6, bias: bool = True, seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(inputs, outputs, bias=bias)


def slowly(layer: Int8Linear, inputs: Tensor) -> Any:
    """What the layer computes, in numpy and integers: 256 levels from the smallest to the largest input, and 0."""
    x = inputs.double().numpy()
    low, high = min(x.min(), 0.0), max(x.max(), 0.0)
    step = (high - low) / 255 or 1.0
    point = round(-low / step)
    levels = np.clip(np.rint(x / step) + point, 0, 255).astype(np.int64)
    sums = (levels - point) @ layer.weight.long().numpy().T
    bias = 0.0 if layer.bias is None else layer.bias.detach().double().numpy()
    return sums * step * layer.scale.double().numpy() + bias, step


def test_rows_by_hand() -> None:
    weight = torch.tensor([[63.0, -31.5, 0.0], [0.0, 0.0, 0.0], [-126.0, 3.0, 2.9]])
    integers, scale = quantize_rows(weight)
    assert integers.tolist() == [[63, -32, 0], [0, 0, 0], [-63, 2, 1]]  # 1.5 and -31.5 go to the even neighbour
    assert scale.tolist() == pytest.approx([1.0, 1.0, 2.0])


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 99))
def test_no_weight_is_off_by_more_than_half_a_step(inputs: int, outputs: int, seed: int) -> None:
    whole = linear(inputs, outputs, seed=seed)
    with torch.no_grad():
        whole.weight[0] *= 1000  # a row of its own scale
    layer = Int8Linear.from_float(whole)
    off = (layer.dequantized() - whole.weight).abs()
    assert (off <= layer.scale[:, None] * 0.5001).all()
    assert (layer.weight.abs().amax(1) == 63).all() and layer.weight.dtype == torch.int8


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shift", [0.0, 3.0, -3.0])
@pytest.mark.parametrize("shape", [(5, 20), (2, 3, 20)])
def test_the_arithmetic_is_that_of_the_slow_way(bias: bool, shift: float, shape: tuple[int, ...]) -> None:
    layer = Int8Linear.from_float(linear(bias=bias))
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(1)) + shift
    slow, step = slowly(layer, inputs)
    fast = layer(inputs)
    assert fast.shape == (*shape[:-1], 6) and fast.dtype == torch.float32
    # An input that lies between two levels may go to either: one step of one input, times the largest weight.
    assert np.abs(fast.numpy() - slow).max() <= step * float(layer.scale.max()) * 63 + 1e-5
    assert np.median(np.abs(fast.numpy() - slow)) < 1e-5


@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_it_answers_like_the_float_layer(shift: float) -> None:
    whole = linear(200, 30)
    layer, inputs = Int8Linear.from_float(whole), torch.randn(50, 200) + shift
    float_, int_ = whole(inputs).detach(), layer(inputs)
    step = (inputs.max() - min(0.0, float(inputs.min()))) / 255
    # Errors of 200 inputs and 200 weights, each uniform within half a step: five standard deviations.
    spread = (
        (step**2 / 12) * whole.weight.square().sum(1) + layer.scale**2 / 12 * inputs.square().sum(1)[:, None]
    ).sqrt()
    assert ((float_ - int_).abs() < 5 * spread).all()


LARGEST = """
import torch
from clinlm.models.layers.int8_linear import Int8Linear
for sign in (1.0, -1.0):
    whole = torch.nn.Linear(64, 3, bias=False)
    torch.nn.init.constant_(whole.weight, sign)
    assert torch.allclose(Int8Linear.from_float(whole)(torch.ones(2, 64)), torch.full((2, 3), 64 * sign))
"""
OLDER = {"FBGEMM_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}


@pytest.mark.parametrize("processor", [{}, OLDER], ids=["this", "without_vnni"])
def test_the_largest_sum_does_not_overflow(processor: dict[str, str]) -> None:
    """All inputs and weights at their largest: with weights up to 127, kernels without VNNI make 32 of this 64."""
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", LARGEST], check=True, cwd=root, env=os.environ | processor)


def test_new_weights_are_packed_anew() -> None:
    layer, other = Int8Linear.from_float(linear()), Int8Linear.from_float(linear(seed=1))
    inputs = torch.randn(3, 20)
    before, wanted = layer(inputs), other(inputs)
    assert not before.equal(wanted)
    layer.load_state_dict(other.state_dict())
    assert layer(inputs).equal(wanted)
    layer.load_state_dict(Int8Linear.from_float(linear()).state_dict(), assign=True)
    assert layer(inputs).equal(before)
    assert set(layer.state_dict()) == {"weight", "scale", "bias"}


def test_a_copy_after_use_is_another_layer() -> None:
    layer, inputs = Int8Linear.from_float(linear()), torch.randn(3, 20)
    answer = layer(inputs)
    copied = copy.deepcopy(nn.Sequential(layer))
    assert copied(inputs).equal(answer)
    copied[0].load_state_dict(Int8Linear.from_float(linear(seed=1)).state_dict())
    assert layer(inputs).equal(answer) and not copied(inputs).equal(answer)


def test_any_precision_comes_and_float32_goes() -> None:
    layer, inputs = Int8Linear.from_float(linear()), torch.randn(3, 20)
    for type_ in (torch.bfloat16, torch.float16, torch.float64):
        assert layer(inputs.to(type_)).equal(layer(inputs.to(type_).float()))
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(inputs).dtype == torch.float32


def test_only_on_a_cpu() -> None:
    with pytest.raises(RuntimeError, match=r"run on the CPU only, got inputs on meta; call network.cpu\(\)"):
        Int8Linear.from_float(linear())(torch.zeros(3, 20, device="meta"))


def test_it_counts_as_many_parameters() -> None:
    whole = linear()
    with torch.no_grad():
        whole.weight[:, :3] = 0
    layer = Int8Linear.from_float(whole)
    assert count_parameters(layer) == count_parameters(whole)
    assert (layer.weight[:, :3] == 0).all() and count_nonzero(layer) <= count_nonzero(whole)


@pytest.mark.parametrize("family", PARAMETERS)
@pytest.mark.parametrize("pooling", ["mean", "attention", "label_attention"])
def test_a_saved_network_answers_to_the_bit(tmp_path: Path, tiny_model: Model, family: str, pooling: Any) -> None:
    model = Model(spec(family, pooling), network(family, pooling), tiny_model.tokenizer)
    with torch.no_grad():
        before = model.network(*rows(family))
    names = [name for name, module in model.network.named_modules() if isinstance(module, nn.Linear)]
    model.apply(Int8Linear.edit(names))
    artifact.save(model, tmp_path)
    loaded = artifact.load(tmp_path)
    with torch.no_grad():
        answer = model.network(*rows(family))
        assert loaded.network(*rows(family)).equal(answer)
        assert copy.deepcopy(loaded.network)(*rows(family)).equal(answer)
    assert not answer.equal(before) and torch.nn.functional.cosine_similarity(answer, before, dim=1).min() > 0.9
    assert not any(isinstance(module, nn.Linear) for module in loaded.network.modules())
    assert sum(p.dtype == torch.int8 for p in loaded.network.parameters()) == len(names)
    assert count_parameters(loaded.network) == count_parameters(network(family, pooling))
