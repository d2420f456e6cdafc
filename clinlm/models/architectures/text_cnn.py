"""A convolutional text classifier's encoder: filters of several widths over a table of token vectors."""

from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput


@final
class TextCnnConfig(PreTrainedConfig):
    """The shape of a `TextCnn`.

    Args:
        vocab_size: tokens.
        embedding_size: width of a token's vector.
        widths: tokens that a filter reads, one number a group of filters.
        filters: filters of every group, in the order of `widths`.
        opening: how many first tokens are also pooled by themselves; None for none.
        pad_token_id: of the tokenizer; the network does not need it.
        max_position_embeddings: longest row; there are no positions, so rows may be as long as one likes.
    """

    model_type = "clinlm_text_cnn"

    vocab_size: int = 30522
    embedding_size: int = 128
    widths: list[int] | tuple[int, ...] = (3, 4, 5)
    filters: list[int] | tuple[int, ...] = (100, 100, 100)
    opening: int | None = None
    pad_token_id: int | None = 0
    max_position_embeddings: int = 1_000_000

    @property
    def hidden_size(self) -> int:
        """Filters of all widths, twice where an opening is pooled: what pooling and the head read."""
        return sum(self.filters) * (1 if self.opening is None else 2)


@final
class TextCnnModel(PreTrainedModel):
    """ReLU of convolutions around every token; `Pooling("max")` makes of them Kim's classifier.

    Source: Kim 2014, "Convolutional neural networks for sentence classification", arXiv:1408.5882, equations 2 and 3.
    Departs: a window stands around every token and reads zeros beyond both ends of a row, where the source leaves such
    windows out. Padding is read as zeros too, so that it changes no answer. A convolution is written as a linear layer
    over windows, the same numbers in another order: what quantises linear layers quantises this. With `opening`, the
    first tokens have filters' maps of their own, which are 0 after them: a note says at its beginning what kind it is,
    and the largest number over a whole text forgets where it stood (as Kalchbrenner et al. 2014, arXiv:1404.2188, k-max
    pooling keeps an order; here two places are enough).

    Attributes:
        embeddings: one vector a token.
        filters: Linear, width x embedding_size -> filters, one for every width. Column k * embedding_size + i reads
            dimension i of the window's k-th token.
    """

    config_class = TextCnnConfig

    def __init__(self, config: TextCnnConfig) -> None:
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, config.embedding_size)
        shapes = zip(config.widths, config.filters, strict=True)
        self.filters = nn.ModuleList(nn.Linear(width * config.embedding_size, count) for width, count in shapes)
        self.post_init()  # type: ignore[no-untyped-call]

    def get_input_embeddings(self) -> nn.Module:
        """Return the table of token vectors."""
        return self.embeddings

    def forward(
        self, input_ids: Int[Tensor, "rows tokens"], attention_mask: Int[Tensor, "rows tokens"]
    ) -> BaseModelOutput:
        """Return, as `last_hidden_state` (rows, tokens, hidden_size), what every filter sees at a token."""
        vectors = self.embeddings(input_ids)
        vectors = vectors * attention_mask.unsqueeze(-1).to(vectors.dtype)
        seen = [
            linear(token_windows(vectors, width))
            for width, linear in zip(self.config.widths, self.filters, strict=True)
        ]
        maps = torch.cat(seen, -1).relu()
        if self.config.opening is not None:
            early = torch.arange(maps.shape[1], device=maps.device) < self.config.opening
            # Maps are at least 0: in the largest over all tokens the later ones do not count.
            maps = torch.cat([maps, maps * early[:, None].to(maps.dtype)], -1)
        return BaseModelOutput(last_hidden_state=maps)

    def _init_weights(self, module: nn.Module) -> None:
        """Leave torch's own: transformers' 0.02 is too small where no norm follows."""


def token_windows(vectors: Float[Tensor, "rows tokens size"], width: int) -> Float[Tensor, "rows tokens window"]:
    """Return, for every token, the vectors of the `width` tokens around it end to end; zeros beyond the row.

    An even window has one token more after the token than before it.
    """
    before = (width - 1) // 2
    framed = functional.pad(vectors, (0, 0, before, width - 1 - before))
    return torch.cat([framed[:, place : place + vectors.shape[1]] for place in range(width)], -1)
