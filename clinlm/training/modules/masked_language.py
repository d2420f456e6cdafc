"""Masked language modelling: the choice of masked tokens, and the head that predicts them."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedTokenizerBase

from clinlm.config.errors import ConfigError

Tokens = Int[Tensor, "rows tokens"]


@dataclass(frozen=True)
class Masking:
    """Chooses the tokens to predict, and their replacements.

    Source: Devlin et al. 2019 (BERT), arXiv:1810.04805, section 3.1: of the chosen tokens 80 % are masked, 10 % become
    another at random, 10 % stay. Drawn anew at every call, as Liu et al. 2019 (RoBERTa), arXiv:1907.11692, section 4.1.

    Attributes:
        share: share of a row's tokens that are chosen, special ones aside; at least one of every row.
        mask: the tokenizer's mask token.
        special: its special tokens: never chosen, never put in place of another.
        others: all its other tokens.
    """

    share: float
    mask: int
    special: Int[Tensor, " special"]
    others: Int[Tensor, " others"]

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, share: float) -> "Masking":
        """Return the masking of a tokenizer.

        Raises:
            ConfigError: it has no mask token.
        """
        if tokenizer.mask_token_id is None:
            raise ConfigError(
                "general distillation needs a tokenizer with a mask token, got one without; remove the stage "
                "(~stages.general), or choose another model"
            )
        special = sorted(set(tokenizer.all_special_ids))
        others = sorted(set(tokenizer.get_vocab().values()) - set(special))
        return cls(share, int(tokenizer.mask_token_id), torch.tensor(special), torch.tensor(others))

    def __call__(
        self, tokens: Tokens, keep: Bool[Tensor, "rows tokens"], generator: torch.Generator | None = None
    ) -> tuple[Tokens, Bool[Tensor, "rows tokens"]]:
        """Return the masked tokens, and which of them are to be predicted.

        Random numbers are drawn on the CPU, so that every device draws the same ones.

        Args:
            keep: False on padding.
            generator: None for torch's own, which modules seed at every epoch.
        """
        device, shape = tokens.device, tokens.shape
        rank_noise, kind = (torch.rand(shape, generator=generator).to(device) for _ in "ab")
        drawn = torch.randint(len(self.others), shape, generator=generator)
        candidates = keep & ~torch.isin(tokens, self.special.to(device))
        wanted = (candidates.sum(1, keepdim=True) * self.share).round().clamp(min=1)
        rank = rank_noise.masked_fill(~candidates, 2.0).argsort(1).argsort(1)
        chosen = candidates & (rank < wanted)
        read = torch.where(chosen & (kind < 0.8), self.mask, tokens)
        read = torch.where(chosen & (kind >= 0.9), self.others[drawn].to(device), read)
        return read, chosen


class MaskedLanguageHead(nn.Module):
    """Maps hidden states to logits of tokens, with the word embeddings as output weights.

    Source: Devlin et al. 2019, the head in BERT's code: a layer, GELU, LayerNorm, and the tied embeddings.

    Args:
        hidden: width of the hidden states.
        embedding: width of the word embeddings.
        tokens: size of the vocabulary.
    """

    def __init__(self, hidden: int, embedding: int, tokens: int) -> None:
        super().__init__()
        self.dense, self.norm = nn.Linear(hidden, embedding), nn.LayerNorm(embedding)
        nn.init.normal_(self.dense.weight, std=0.02)
        nn.init.zeros_(self.dense.bias)
        self.bias = nn.Parameter(torch.zeros(tokens))

    def forward(
        self, hidden: Float[Tensor, "guessed hidden"], words: Float[Tensor, "tokens embedding"]
    ) -> Float[Tensor, "guessed tokens"]:
        """Return the logits, in float32."""
        logits: Tensor = functional.linear(self.norm(functional.gelu(self.dense(hidden))), words, self.bias)
        return logits.float()
