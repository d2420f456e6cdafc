"""Attention in bfloat16: as exact as torch's kernel, with and without padding, in every encoder that has it."""

from collections.abc import Callable

import pytest
import torch
from jaxtyping import Float
from support.families import PARAMETERS, config, network, rows
from torch import Tensor
from torch.nn import functional

from clinlm.training.attention import MOST_TOKENS, NAME, Attention, attend, fast_attention

Answer = Callable[[Tensor, Tensor, Tensor, Tensor | None], Float[Tensor, "rows heads tokens width"]]


def ours(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    attended: Tensor = Attention.apply(query, key, value, mask, query.shape[-1] ** -0.5)  # type: ignore[no-untyped-call]
    return attended


def torchs(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)


def answer_and_gradients(way: Answer, dtype: torch.dtype, padded: bool) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    query, key, value, wanted = (torch.randn(3, 4, 19, 8, generator=generator) for _ in "qkvw")
    inputs = [one.to(torch.bfloat16).to(dtype).requires_grad_() for one in (query, key, value)]
    mask = None
    if padded:
        mask = torch.zeros(3, 1, 19, 19, dtype=dtype)
        mask[1, :, :, 11:] = mask[2, :, :, 2:] = torch.finfo(dtype).min
    found = way(*inputs, mask)
    found.backward(wanted.to(torch.bfloat16).to(dtype))
    gradients = [one.grad for one in inputs]
    return [found.detach().double(), *(one.double() for one in gradients if one is not None)]


@pytest.mark.parametrize("padded", [False, True])
def test_answer_and_gradients_are_those_of_torch(padded: bool) -> None:
    exact = answer_and_gradients(torchs, torch.float64, padded)
    for dtype, factor in ((torch.float64, None), (torch.bfloat16, 2.0)):
        found = answer_and_gradients(ours, dtype, padded)
        theirs = answer_and_gradients(torchs, dtype, padded)
        for own, their, true in zip(found, theirs, exact, strict=True):
            if factor is None:
                torch.testing.assert_close(own, true)
            else:
                assert (own - true).norm() <= factor * (their - true).norm(), "not much less exact than torch's"


@pytest.mark.parametrize("family", PARAMETERS)
def test_an_encoder_learns_as_with_torchs_attention(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    attended = Attention.forward

    def counted(*arguments: object) -> Tensor:
        nonlocal calls
        calls += 1
        return attended(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Attention, "forward", staticmethod(counted))
    model, batch = network(family), rows(family)
    torchs_own = config(model)._attn_implementation == "sdpa"

    def gradients(precision: torch.dtype) -> Tensor:
        model.zero_grad()
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            model(*batch).square().mean().backward()
        return torch.cat([one.grad.flatten() for one in model.parameters() if one.grad is not None])

    exact, theirs = gradients(torch.float32), gradients(torch.bfloat16)
    assert calls == 0
    with fast_attention(config(model)):
        torch.testing.assert_close(gradients(torch.float32), exact)
        assert calls == 0, "in float32 torch's kernel is faster"
        found = gradients(torch.bfloat16)
        with torch.no_grad():
            model(*batch)
    assert (calls > 0) == torchs_own
    assert config(model)._attn_implementation != NAME
    error, theirs_error = ((one - exact).norm() / exact.norm() for one in (found, theirs))
    assert error <= 2 * theirs_error + 1e-6


def test_long_rows_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its memory does not grow with the square of the tokens."""
    asked = []
    monkeypatch.setattr(Attention, "apply", lambda query, *rest: asked.append(query.shape[-2]) or query)
    module = torch.nn.Module()
    module.is_causal = False  # type: ignore[assignment]
    for tokens in (MOST_TOKENS, MOST_TOKENS + 1):
        query = torch.zeros(1, 1, tokens, 2, dtype=torch.bfloat16, requires_grad=True)
        assert attend(module, query, query, query, None)[0].shape == (1, tokens, 1, 2)
    assert asked == [MOST_TOKENS]
