"""A wide branch: the logits of a linear model of all tokens, beside those of a network that reads the first ones."""

from typing import Final, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

ANY_LENGTH: Final = 1_000_000
"""Longest row of a network with a wide branch, which has no positions."""


@final
class WideBranch(nn.Module):
    """A row of a table for every token, whose sum over a row of tokens is averaged with the logits of a network.

    Every distinct token counts once, with the weight 1 + log(how often it occurs), and the weights of a row have
    length 1: sublinear term frequencies. What a token's rarity is worth is in its row of the table.

    Source: Cheng et al. 2016, "Wide & deep learning for recommender systems", arXiv:1606.07792: a linear model of
    sparse features beside a network.
    Departs: there both are trained together. A linear model of thousands of tokens is nearly certain of the notes that
    it was fitted on, so that a network beside it would learn little from them. Here it is fitted first (see
    `clinlm.models.initializers.wide`) and does not answer in training: cross-fitted logits, which come with the
    batch, stand in for it.

    Args:
        vocabulary: tokens of the tokenizer.
        outputs: logits.
        reach: first tokens of a row that the network beside it reads; at least 1.
        share: of this branch in the logits, in (0, 1).

    Attributes:
        table: one row per token.
        bias: one number per output.
    """

    def __init__(self, vocabulary: int, outputs: int, reach: int, share: float) -> None:
        super().__init__()
        self.reach, self.share = reach, share
        self.table = nn.Embedding(vocabulary, outputs)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(
        self, input_ids: Int[Tensor, "rows tokens"], attention_mask: Int[Tensor, "rows tokens"]
    ) -> Float[Tensor, "rows outputs"]:
        """Return the logits of this branch alone."""
        read = attention_mask.to(self.bias.dtype)
        counts = read.new_zeros(read.shape[0], self.table.num_embeddings).scatter_add(1, input_ids, read)
        count = counts.gather(1, input_ids).clamp(min=1)
        weight = 1 + count.log()
        # Every occurrence has its part of the token's weight.
        length = (read * weight.square() / count).sum(1, keepdim=True).clamp(min=1).sqrt()
        part = read * weight / count / length
        logits: Tensor = (part.unsqueeze(1) @ self.table(input_ids)).squeeze(1) + self.bias
        return logits

    def mean(
        self, deep: Float[Tensor, "units outputs"], wide: Float[Tensor, "units outputs"]
    ) -> Float[Tensor, "units outputs"]:
        """Return the logits of the network and of this branch, averaged."""
        return (1 - self.share) * deep + self.share * wide
