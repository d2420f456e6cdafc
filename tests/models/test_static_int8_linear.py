"""Laws of INT8 layers with fixed levels of inputs: their arithmetic in integers, clipping, smoothing, copies."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from clinlm.models.layers.rounding import input_levels
from clinlm.models.layers.static_int8_linear import StaticInt8Linear


def linear(inputs: int = 20, outputs: int = 6, bias: bool = True, seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(inputs, outputs, bias=bias)


def made(low: float = -4.0, high: float = 4.0, smooth: Tensor | None = None, **shape: Any) -> StaticInt8Linear:
    scale, point = input_levels(torch.tensor(low), torch.tensor(high))
    return StaticInt8Linear.calibrated(linear(**shape), float(scale), int(point), smooth)


def slowly(layer: StaticInt8Linear, inputs: Tensor) -> Any:
    """What the layer computes, in numpy and integers of 32 bits."""
    x = (inputs if layer.smooth is None else inputs * layer.smooth).double().numpy()
    scale, point = float(layer.input_scale), int(layer.input_zero_point)
    levels = np.clip(np.rint(x / scale + point), 0, 255).astype(np.int32)
    sums = (levels - point) @ layer.weight.int().numpy().T
    assert sums.dtype == np.int32
    bias = 0.0 if layer.bias is None else layer.bias.detach().double().numpy()
    return sums * scale * layer.scale.double().numpy() + bias


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("low", "high"), [(-4.0, 4.0), (0.0, 3.0), (-1.0, 0.5), (-0.2, 9.0)])
@pytest.mark.parametrize("shape", [(5, 20), (2, 3, 20)])
def test_the_product_is_one_of_integers(bias: bool, low: float, high: float, shape: tuple[int, ...]) -> None:
    """Also of inputs beyond the range, which are clipped."""
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 2
    for smooth in (None, torch.rand(20) + 0.5):
        layer = made(low, high, smooth, bias=bias)
        outputs = layer(inputs)
        assert outputs.shape == (*shape[:-1], 6) and outputs.dtype == torch.float32
        np.testing.assert_allclose(outputs.numpy(), slowly(layer, inputs), atol=1e-5)


def test_it_answers_like_the_float_layer_within_its_range() -> None:
    whole = linear(200, 30)
    inputs = torch.randn(50, 200)
    scale, point = input_levels(inputs.min(), inputs.max())
    layer = StaticInt8Linear.calibrated(whole, float(scale), int(point))
    of_inputs, of_weights = scale**2 * whole.weight.square().sum(1), layer.scale**2 * inputs.square().sum(1)[:, None]
    assert ((whole(inputs) - layer(inputs)).abs() < 5 * ((of_inputs + of_weights) / 12).sqrt()).all()


def test_smoothing_gives_levels_to_those_beside_an_outlier() -> None:
    """One input is a hundred times the others, its weights a hundredth: divided by that, all have levels."""
    whole, inputs = linear(), torch.randn(40, 20, generator=torch.Generator().manual_seed(2))
    inputs[:, 3] *= 100
    with torch.no_grad():
        whole.weight[:, 3] /= 100
    smooth = torch.ones(20)
    smooth[3] = 0.01
    off = []
    for factors in (None, smooth):
        seen = inputs if factors is None else inputs * factors
        scale, point = input_levels(seen.min(), seen.max())
        layer = StaticInt8Linear.calibrated(whole, float(scale), int(point), factors)
        assert (layer.dequantized() - whole.weight).norm() < 0.02 * whole.weight.norm()
        off.append(float((layer(inputs) - whole(inputs)).detach().square().mean()))
    assert off[1] < 0.05 * off[0]


def test_what_was_never_set_is_no_number() -> None:
    assert StaticInt8Linear(20, 6).input_scale.isnan()


@pytest.mark.parametrize("smooth", [None, torch.rand(20) + 0.5], ids=["plain", "smoothed"])
def test_loading_a_saved_layer_answers_to_the_bit(smooth: Tensor | None) -> None:
    layer, inputs = made(smooth=smooth), torch.randn(3, 20)
    answer = layer(inputs)
    other = StaticInt8Linear(20, 6, smoothed=smooth is not None)
    other(inputs)  # packs what is to be forgotten
    other.load_state_dict(layer.state_dict(), strict=True)
    assert other(inputs).equal(answer)
    names = {"weight", "scale", "bias", "input_scale", "input_zero_point"}
    assert set(layer.state_dict()) == names | ({"smooth"} if smooth is not None else set())
    assert layer.input_scale.ndim == layer.input_zero_point.ndim == 0 and layer.input_zero_point.dtype == torch.int32


def test_a_copy_after_use_is_another_layer() -> None:
    layer, inputs = made(), torch.randn(3, 20)
    answer = layer(inputs)
    copied = copy.deepcopy(nn.Sequential(layer))
    assert copied(inputs).equal(answer)
    copied[0].load_state_dict(made(seed=1).state_dict())
    assert layer(inputs).equal(answer) and not copied(inputs).equal(answer)


def test_any_precision_comes_and_float32_goes() -> None:
    layer, inputs = made(smooth=torch.rand(20) + 0.5), torch.randn(3, 20)
    for type_ in (torch.bfloat16, torch.float16, torch.float64):
        assert layer(inputs.to(type_)).equal(layer(inputs.to(type_).float()))
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(inputs).dtype == torch.float32


def test_only_on_a_cpu() -> None:
    with pytest.raises(RuntimeError, match="run on the CPU only, got inputs on meta"):
        made()(torch.zeros(3, 20, device="meta"))
