"""Laws of the schedule and of who learns at which rate."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.pipelines import built, kept

from clinlm.models.model import Model
from clinlm.tasks.multilabel import MultiLabel
from clinlm.training.optimizer import AdamW

pytestmark = pytest.mark.usefixtures("quick")
DECAYS = ("linear", "cosine", "constant")


@given(st.sampled_from(DECAYS), st.floats(0, 0.99), st.integers(1, 300))
def test_the_rate_rises_in_a_line_and_then_falls(decay: str, warmup: float, steps: int) -> None:
    optimizer = AdamW(warmup=warmup, decay=decay)  # type: ignore[arg-type]
    factors = [optimizer.factor(step, steps) for step in range(steps + 1)]
    rising = round(warmup * steps)
    assert all(0 <= factor <= 1 for factor in factors)
    assert factors[:rising] == pytest.approx([(step + 1) / rising for step in range(rising)])
    assert factors[rising] == 1 or rising == 0 and factors[0] == 1
    falling = factors[rising:]
    assert all(after <= before for before, after in zip(falling, falling[1:], strict=False))
    assert factors[steps - 1] > 0  # no step is wasted
    if decay == "constant":
        assert set(falling) == {1.0}
    elif rising < steps:
        assert factors[steps] == pytest.approx(0, abs=1e-12)
        middle = (falling[0] + falling[-1]) / 2
        if len(falling) % 2:
            assert falling[len(falling) // 2] == pytest.approx(middle)


def test_beyond_the_last_step_the_rate_stays_in_range() -> None:
    for decay in DECAYS:
        assert 0 <= AdamW(decay=decay).factor(150, 100) <= 1  # type: ignore[arg-type]


def test_every_weight_learns_once_at_its_rate(tiny_model: Model) -> None:
    network = tiny_model.network
    optimizer, _ = AdamW(1e-4, 1e-2, 0.1).build(network, 10)
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    listed = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in network.parameters())
    for name, parameter in network.named_parameters():
        group = groups[id(parameter)]
        assert group["initial_lr"] == (1e-2 if name.startswith(("head.", "pooling.")) else 1e-4)
        vector = name.endswith("bias") or "LayerNorm" in name
        assert group["weight_decay"] == (0.0 if vector else 0.1)


def test_frozen_weights_take_no_part(tiny_model: Model) -> None:
    network = tiny_model.network
    network.body.requires_grad_(False)
    optimizer, _ = AdamW(head_learning_rate=None).build(network, 10)
    listed = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert listed == {id(p) for p in network.head.parameters()}
    assert {group["initial_lr"] for group in optimizer.param_groups} == {AdamW().learning_rate}


def test_the_schedule_follows_the_factor(tiny_model: Model) -> None:
    settings = AdamW(1e-4, 1e-2, warmup=0.25)
    optimizer, schedule = settings.build(tiny_model.network, 8)
    for step in range(8):
        for group in optimizer.param_groups:
            assert group["lr"] == pytest.approx(group["initial_lr"] * settings.factor(step, 8))
        optimizer.step()
        schedule.step()
    assert all(group["lr"] == pytest.approx(0) for group in optimizer.param_groups)


def test_a_step_is_adam_with_decoupled_decay(tiny_model: Model) -> None:
    """The first step of Adam moves every weight by the rate, against the sign of its gradient, after decaying it."""
    network = tiny_model.network
    settings = AdamW(1e-3, 1e-2, 0.1, warmup=0.0)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    optimizer, _ = settings.build(network, 10)
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for name, parameter in network.named_parameters():
        rate = 1e-2 if name.startswith("head.") else 1e-3
        decay = 0.1 if parameter.ndim > 1 else 0.0
        assert torch.allclose(parameter, before[name] * (1 - rate * decay) - rate, atol=1e-6)


def test_other_peaks_leave_the_rest() -> None:
    settings = AdamW(1e-4, 1e-3, 0.1, 0.2, "linear")
    assert settings.at(5e-5, None) == AdamW(5e-5, None, 0.1, 0.2, "linear")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("head_learning_rate", -1e-3),
        ("weight_decay", -0.1),
        ("warmup", 1.0),
        ("warmup", -0.1),
        ("decay", "exponential"),
    ],
)
def test_settings_are_checked(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"optimizer.{name}"):
        AdamW(**{name: value})  # type: ignore[arg-type]


def test_gradients_are_clipped_in_mixed_precision(tmp_path: Path, task: MultiLabel, tiny_model: Model) -> None:
    """Lightning refuses where an optimiser says that it unscales gradients itself."""
    start = kept(tiny_model, tmp_path / "start")
    made = built(tmp_path / "built", task, start, {}, epochs=1, precision="bf16-mixed", clip=1.0)
    assert made.report["steps"] > 0
