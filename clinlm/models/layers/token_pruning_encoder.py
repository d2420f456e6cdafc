"""The layers of an encoder, some of which drop tokens."""

import copy
from collections.abc import Sequence
from typing import Any, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

Hidden = Float[Tensor, "rows tokens hidden"]
_EAGER = "eager"


@final
class TokenPruningEncoder(nn.Module):
    """Layers of which some drop tokens between attention and FFN: those that received least attention.

    The score of a token is the attention that it receives in the layer, a mean over heads and over the tokens that
    attend. How many stay is a share of the row's own tokens, so a short note is pruned as a long one is, and what
    stands beside a row in a batch changes nothing. The first token always stays, and stays the first. The others are in
    the order of their scores: attention and pooling see a set, and positions are in the embeddings. Padding comes last.

    Source: Goyal et al. 2020, "PoWER-BERT", arXiv:2001.08950, section 3: the score and the place; Kim & Cho 2021,
    "Length-adaptive transformer", arXiv:2010.07003, section 3.2: shares of the row; Kim et al. 2022, "Learned token
    pruning", arXiv:2107.00910, equation 2: means.

    Args:
        encoder: has the layers of a BERT or DistilBERT as `layer`.
        config: of the body; says how layers that drop nothing attend.
        percents: see `clinlm.models.surgery.prune_tokens`.

    Attributes:
        kept: `percents`, in the weights of a network so that they tell whether tokens are pruned.
    """

    kept: Tensor

    def __init__(self, encoder: Any, config: Any, percents: Sequence[int]) -> None:
        super().__init__()
        self.layer: Any = encoder.layer
        self.config, self.percents = config, tuple(percents)
        self.register_buffer("kept", torch.tensor(self.percents))
        for number in self.dropping():
            attention = self._attention(self.layer[number])
            # Fused attention does not return its weights.
            attention.config = copy.copy(attention.config)
            attention.config._attn_implementation = _EAGER

    def dropping(self) -> list[int]:
        """Return the numbers of the layers that drop tokens."""
        before = (100, *self.percents)
        return [number for number, percent in enumerate(self.percents) if percent < before[number]]

    def forward(
        self, hidden_states: Hidden, attention_mask: Tensor | None = None, **_: Any
    ) -> BaseModelOutputWithPastAndCrossAttentions:
        """Return the hidden states of the tokens that are left, which are the first ones of every row.

        Args:
            hidden_states: output of the embeddings.
            attention_mask: as transformers makes it for the body's kind of attention; None where nothing is padding.
        """
        hidden, read, mask = hidden_states, _read(attention_mask), attention_mask
        tokens, dropping = hidden.shape[1], self.dropping()
        lengths = None if read is None else read.sum(1)
        for number, (layer, percent) in enumerate(zip(self.layer, self.percents, strict=True)):
            if number not in dropping:
                hidden = layer(hidden, mask)
                continue
            attended, weights = self._attend(layer, hidden, read)
            order = best_tokens(received(weights.detach(), read), read, kept_tokens(tokens, percent))
            if lengths is not None:
                read = torch.arange(order.shape[1], device=order.device) < kept_tokens(lengths, percent)[:, None]
                mask = self._mask(read, hidden.dtype)
                # Padding repeats the first token, so that it widens no range of INT8.
                order = order.masked_fill(~read, 0)
            hidden = self._finish(layer, take_tokens(attended, order), take_tokens(hidden, order))
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=hidden)

    def _attention(self, layer: Any) -> Any:
        """Return the module that computes the weights of attention."""
        return layer.attention if self.config.model_type == "distilbert" else layer.attention.self

    def _attend(self, layer: Any, hidden: Hidden, read: Tensor | None) -> tuple[Hidden, Tensor]:
        """Return what every token attended to, and the weights."""
        mask = None if read is None else _added(read, hidden.dtype)
        attended: Hidden
        attended, weights = self._attention(layer)(hidden, mask)
        return attended, weights

    def _finish(self, layer: Any, attended: Hidden, hidden: Hidden) -> Hidden:
        """Return the output of a layer from what its tokens attended to and its input."""
        if self.config.model_type == "distilbert":
            middle = layer.sa_layer_norm(attended + hidden)
            found: Hidden = layer.output_layer_norm(layer.ffn(middle) + middle)
            return found
        found = layer.feed_forward_chunk(layer.attention.output(attended, hidden))
        return found

    def _mask(self, read: Bool[Tensor, "rows tokens"], kind: torch.dtype) -> Tensor:
        """Return the mask for a layer that drops nothing, as its kind of attention takes it."""
        eager = self.config._attn_implementation == _EAGER
        return _added(read, kind) if eager else read[:, None, None]


def kept_tokens(tokens: Any, percent: int) -> Any:
    """Return how many of `tokens` stay, rounded up: in integers, so that every engine finds the same.

    Args:
        tokens: a number, a symbol of torch.export, or a tensor of numbers; at least 1.
        percent: in [1, 100].
    """
    return (tokens * percent + 99) // 100


def received(
    weights: Float[Tensor, "rows heads tokens tokens"], read: Bool[Tensor, "rows tokens"] | None
) -> Float[Tensor, "rows tokens"]:
    """Return the attention that every token receives from all that are not padding, a sum over heads and these.

    The order is that of the means, as all tokens of a row are divided by the same number.
    """
    if read is not None:  # a product of a vector and a matrix per head: masking the weights would copy them
        weights = torch.matmul(read[:, None, None].to(weights.dtype), weights)
    return weights.sum((1, 2), dtype=torch.float32)


def best_tokens(
    scores: Float[Tensor, "rows tokens"], read: Bool[Tensor, "rows tokens"] | None, count: Any
) -> Int[Tensor, "rows count"]:
    """Return the places of the `count` tokens with the best scores: the first token, then the best; padding last.

    Of equals the first is better.
    """
    if read is not None:
        scores = scores.masked_fill(~read, -1)
    first = torch.arange(scores.shape[1], device=scores.device) == 0
    scores = scores.masked_fill(first, torch.inf)
    if torch.compiler.is_exporting():  # torch exports no stable sort, and ONNX's TopK is one
        order = scores.argsort(dim=1, descending=True)
    else:
        order = scores.argsort(dim=1, descending=True, stable=True)
    # Not a slice, nor topk: torch.export would have to know that count is at most the number of tokens.
    return order[:, torch.arange(count, device=scores.device)]


def take_tokens(hidden: Hidden, order: Int[Tensor, "rows kept"]) -> Float[Tensor, "rows kept hidden"]:
    """Return the hidden states at these places of every row. One gather of rows: engines copy whole vectors."""
    rows, tokens, width = hidden.shape
    places = order + torch.arange(rows, device=order.device)[:, None] * tokens
    return hidden.reshape(rows * tokens, width)[places]


def _read(mask: Tensor | None) -> Bool[Tensor, "rows tokens"] | None:
    """Return which tokens are read, by transformers' mask: (rows, 1, tokens, tokens), true, or 0, where they are."""
    if mask is None:
        return None
    keys = mask[:, 0, 0]
    return keys if keys.dtype == torch.bool else keys == 0


def _added(read: Bool[Tensor, "rows tokens"], kind: torch.dtype) -> Tensor:
    """Return a mask to add to the scores of attention."""
    return torch.zeros(read.shape, dtype=kind, device=read.device).masked_fill(~read, torch.finfo(kind).min)[
        :, None, None
    ]
