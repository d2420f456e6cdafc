"""Attention in bfloat16 on a CPU, of which torch's kernel has a slow backward pass."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

Heads = Float[Tensor, "rows heads tokens width"]
NAME: Final = "clinlm_attention"
MOST_TOKENS: Final = 512
"""In a row: beyond, torch's kernel, whose memory does not grow with their square."""
_FUSED: Final = "sdpa"
_OTHERWISE: Final = ("position_bias", "softcap", "cache", "output_attentions", "is_causal")
"""Arguments of transformers' function that change what it computes."""


class Attention(torch.autograd.Function):
    """softmax(scale * q k^T + mask) v by matrix products, in the precision of its inputs; softmax sums in float32.

    Forward and backward together take 0.5 (256 tokens) to 0.25 times (50 tokens) the time of torch's flash kernel for
    bfloat16 on an AMD EPYC with AVX512-BF16; in float32 that kernel is faster. It keeps the weights of attention for
    the backward pass: rows x heads x tokens^2 x 2 bytes a layer.
    """

    @staticmethod
    def forward(ctx: Any, query: Heads, key: Heads, value: Heads, mask: Tensor | None, scale: float) -> Heads:
        """Return what every token attends to; `mask` is added to the scores."""
        scores = torch.matmul(query * scale, key.transpose(-1, -2))
        weights = torch.softmax(scores if mask is None else scores.add_(mask), -1)
        ctx.save_for_backward(query, key, value, weights)
        ctx.scale = scale
        return torch.matmul(weights, value)

    @staticmethod
    def backward(ctx: Any, *gradients: Heads) -> tuple[Heads, Heads, Heads, None, None]:
        """Return the gradients of query, key and value."""
        (gradient,) = gradients
        query, key, value, weights = ctx.saved_tensors
        of_weights = torch.matmul(gradient, value.transpose(-1, -2))
        of_scores = torch._softmax_backward_data(of_weights, weights, -1, query.dtype).mul_(ctx.scale)
        of_value = torch.matmul(weights.transpose(-1, -2), gradient)
        return torch.matmul(of_scores, key), torch.matmul(of_scores.transpose(-1, -2), query), of_value, None, None


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attend by `Attention` in training in bfloat16 on a CPU, over rows of at most `MOST_TOKENS`.

    Otherwise as transformers does, whose interface this has.
    """
    other = any(others.get(name) is not None for name in _OTHERWISE) or dropout or getattr(module, "is_causal", True)
    ours = torch.is_grad_enabled() and query.dtype == torch.bfloat16 and query.device.type == "cpu"
    long = query.shape != key.shape or query.shape[-2] > MOST_TOKENS
    if other or not ours or long or (attention_mask is not None and attention_mask.requires_grad):
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **others
        )
    if attention_mask is not None and attention_mask.dtype == torch.bool:
        low = torch.finfo(query.dtype).min
        attention_mask = torch.zeros_like(attention_mask, dtype=query.dtype).masked_fill_(~attention_mask, low)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    attended: Tensor = Attention.apply(query, key, value, attention_mask, scale)  # type: ignore[no-untyped-call]
    return attended.transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)


@contextmanager
def fast_attention(config: Any) -> Iterator[None]:
    """Let the encoder of a transformers configuration attend by `attend` in the block, if it attends by torch.

    Args:
        config: None for an encoder that is not of transformers.
    """
    if getattr(config, "_attn_implementation", None) != _FUSED:
        yield
        return
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = _FUSED
