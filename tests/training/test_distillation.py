"""Laws of the distillation losses, against torch's own, against sums by hand, and against each other."""

import dataclasses
import math
import os
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from jaxtyping import TypeCheckError
from support.shape_hook import UNCHECKED
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, kl_divergence
from torch.nn import functional
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from clinlm.training.distillation import Direction, Distillation, sigmoid_kl, softmax_kl

SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 5))
PAIRS = SHAPES.flatmap(lambda s: st.tuples(*(arrays.arrays(np.float64, s, elements=st.floats(-20, 20)) for _ in "st")))
DIRECTIONS: tuple[Direction, ...] = ("teacher_to_student", "student_to_teacher")
FORMS = {"softmax": softmax_kl, "sigmoid": sigmoid_kl}
# A case small enough for a sheet of paper: two documents, three labels.
STUDENT = torch.tensor([[0.0, math.log(2), 0.0], [math.log(3), 0.0, 0.0]], dtype=torch.double)
TEACHER = torch.tensor([[0.0, 0.0, 0.0], [0.0, math.log(3), 0.0]], dtype=torch.double)


def of(pair: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(pair[0]), torch.from_numpy(pair[1])


@given(PAIRS, st.sampled_from(DIRECTIONS))
def test_softmax_form_is_torchs_divergence(pair: tuple[Any, ...], direction: Direction) -> None:
    student, teacher = of(pair)
    target, other = (teacher, student) if direction == "teacher_to_student" else (student, teacher)
    terms = softmax_kl(student, teacher, direction)
    torch_terms = functional.kl_div(other.log_softmax(-1), target.log_softmax(-1), reduction="none", log_target=True)
    assert torch.allclose(terms, torch_terms, atol=1e-12)
    exact = kl_divergence(Categorical(logits=target), Categorical(logits=other))
    assert torch.allclose(terms.sum(-1), exact, atol=1e-10)


@given(PAIRS, st.sampled_from(DIRECTIONS))
def test_sigmoid_form_is_bernoullis_divergence(pair: tuple[Any, ...], direction: Direction) -> None:
    student, teacher = of(pair)
    target, other = (teacher, student) if direction == "teacher_to_student" else (student, teacher)
    exact = kl_divergence(Bernoulli(logits=target), Bernoulli(logits=other))
    assert torch.allclose(sigmoid_kl(student, teacher, direction), exact, atol=1e-10)
    # The same once more as a softmax over (present, absent).
    s, t = (torch.stack([logits, torch.zeros_like(logits)], -1).flatten(0, 1) for logits in (student, teacher))
    ours = sigmoid_kl(student, teacher, direction)
    assert torch.allclose(ours.flatten(), softmax_kl(s, t, direction).sum(-1), atol=1e-10)


@given(PAIRS, st.sampled_from(sorted(FORMS)), st.sampled_from(DIRECTIONS))
def test_divergences_are_at_least_zero_and_turn_with_their_arguments(
    pair: tuple[Any, ...], form: str, direction: Direction
) -> None:
    student, teacher = of(pair)
    terms = FORMS[form](student, teacher, direction)
    assert (terms.sum(-1) >= -1e-12).all()
    if form == "sigmoid":
        assert (terms >= -1e-12).all()
    turned = FORMS[form](teacher, student, next(d for d in DIRECTIONS if d != direction))
    assert turned.equal(terms)
    assert FORMS[form](student, student.clone(), direction).abs().max() == 0


@given(PAIRS, st.floats(-50, 50))
def test_softmax_forgets_what_all_logits_share_and_sigmoid_does_not(pair: tuple[Any, ...], shift: float) -> None:
    student, teacher = of(pair)
    for direction in DIRECTIONS:
        moved = softmax_kl(student + shift, teacher - shift, direction)
        assert torch.allclose(moved, softmax_kl(student, teacher, direction), atol=1e-9)
    assert sigmoid_kl(torch.zeros(1, 2), torch.ones(1, 2), "teacher_to_student").sum() > 0.1


@pytest.mark.parametrize(("form", "direction"), [*product(FORMS, DIRECTIONS)])
def test_sure_logits_stay_finite(form: str, direction: Direction) -> None:
    student = torch.tensor([[100.0, -100.0, 0.0]], requires_grad=True)
    terms = FORMS[form](student, -student.detach(), direction)
    (gradient,) = torch.autograd.grad(terms.sum(), student)
    assert terms.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize(("form", "direction"), [*product(FORMS, DIRECTIONS)])
def test_gradients_are_right(form: str, direction: Direction) -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(2, 3, dtype=torch.double, generator=generator) for _ in "st")
    student.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda logits: FORMS[form](logits, teacher, direction), (student,))
    for temperature, reduction in product((1.0, 3.0), ("batchmean", "mean", "sum")):
        loss = Distillation(0.3, temperature, form, direction, True, reduction)  # type: ignore[arg-type]
        targets = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]], dtype=torch.double)
        assert torch.autograd.gradcheck(
            partial(loss.loss, teacher=teacher, targets=targets, supervised=bce), (student,)
        )


def test_s0_by_hand() -> None:
    """p_s = (1/4, 1/2, 1/4), (3/5, 1/5, 1/5); p_t = (1/3, 1/3, 1/3), (1/5, 3/5, 1/5)."""
    first = math.log((1 / 3) / (1 / 4)) * 2 / 3 + math.log((1 / 3) / (1 / 2)) / 3
    second = 1 / 5 * math.log(1 / 3) + 3 / 5 * math.log(3)
    assert Distillation(1.0).soft(STUDENT, TEACHER).item() == pytest.approx((first + second) / 2)
    written_first = 1 / 2 * math.log(3 / 4) + 1 / 2 * math.log(3 / 2)
    written = Distillation(1.0, direction="student_to_teacher").soft(STUDENT, TEACHER).item()
    assert written == pytest.approx(
        (written_first + second) / 2
    )  # the second document's two distributions are mirrored

    targets = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], dtype=torch.double)
    supervised = (2 * math.log(2) + math.log(3 / 2) + math.log(4 / 3) + 2 * math.log(2)) / 6
    total = Distillation().loss(STUDENT, TEACHER, targets, bce)
    assert total.item() == pytest.approx(0.3 * (first + second) / 2 + 0.7 * supervised)


@given(PAIRS, st.sampled_from(sorted(FORMS)), st.sampled_from(DIRECTIONS), st.floats(0.5, 8))
def test_reductions_differ_by_counts_and_temperature_divides(
    pair: tuple[Any, ...], form: str, direction: Direction, temperature: float
) -> None:
    student, teacher = of(pair)
    documents, outputs = student.shape
    plain = Distillation(1.0, temperature, form, direction)  # type: ignore[arg-type]
    soft = plain.soft(student, teacher)
    assert torch.allclose(soft, FORMS[form](student / temperature, teacher / temperature, direction).sum() / documents)
    assert torch.allclose(dataclasses.replace(plain, reduction="mean").soft(student, teacher) * outputs, soft)
    assert torch.allclose(dataclasses.replace(plain, reduction="sum").soft(student, teacher) / documents, soft)
    squared = dataclasses.replace(plain, squared_temperature=True)
    assert torch.allclose(squared.soft(student, teacher), soft * temperature**2)


def test_squared_temperature_keeps_the_size_of_gradients() -> None:
    """At high temperature the gradient of T^2 x KL tends to (z_s - z_t) / outputs for centred logits (Hinton)."""
    student, teacher = (
        torch.randn(1, 4, dtype=torch.double, generator=torch.Generator().manual_seed(n)) for n in (0, 1)
    )
    student, teacher = student - student.mean(), teacher - teacher.mean()
    student.requires_grad_(True)
    loss = Distillation(1.0, 1e3, squared_temperature=True).soft(student, teacher)
    (gradient,) = torch.autograd.grad(loss, student)
    assert torch.allclose(gradient, (student.detach() - teacher) / 4, atol=2e-3)


def test_the_ends_of_alpha_are_the_parts() -> None:
    targets = torch.ones(2, 3, dtype=torch.double)

    def refuse(logits: Tensor, targets: Tensor) -> Tensor:
        raise AssertionError("a weight of zero costs nothing")

    soft_only, hard_only = Distillation(1.0), Distillation(0.0)
    assert soft_only.loss(STUDENT, TEACHER, targets, refuse).equal(soft_only.soft(STUDENT, TEACHER))
    assert hard_only.loss(STUDENT, TEACHER * math.nan, targets, bce).equal(bce(STUDENT, targets))
    for alpha in (0.0, 0.25, 1.0):
        mixed = alpha * soft_only.soft(STUDENT, TEACHER) + (1 - alpha) * bce(STUDENT, targets)
        assert torch.allclose(Distillation(alpha).loss(STUDENT, TEACHER, targets, bce), mixed)


def test_equal_logits_are_a_minimum() -> None:
    for form, direction in product(FORMS, DIRECTIONS):
        student = TEACHER.clone().requires_grad_(True)
        soft = Distillation(1.0, 2.0, form, direction).soft(student, TEACHER)  # type: ignore[arg-type]
        (gradient,) = torch.autograd.grad(soft, student)
        assert soft.item() == 0
        assert gradient.abs().max() < 1e-15


@pytest.mark.skipif(bool(os.environ.get(UNCHECKED)), reason=f"{UNCHECKED} is set: shapes are not checked")
def test_shapes_that_differ_are_refused() -> None:
    for divergence in FORMS.values():
        with pytest.raises(TypeCheckError):
            divergence(torch.zeros(2, 3), torch.zeros(1, 3), "teacher_to_student")  # torch would broadcast in silence
    with pytest.raises(TypeCheckError):
        Distillation().soft(torch.zeros(2, 3), torch.zeros(2, 1))


@pytest.mark.parametrize(
    "settings",
    [
        {"alpha": -0.1},
        {"alpha": 1.1},
        {"alpha": math.nan},
        {"temperature": 0.0},
        {"temperature": math.inf},
        {"temperature": math.nan},
        {"form": "hard"},
        {"direction": "both"},
        {"reduction": "none"},
    ],
)
def test_settings_are_checked(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"distill.{next(iter(settings))}"):
        Distillation(**settings)
