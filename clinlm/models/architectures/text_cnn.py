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
    """Shape of a `TextCnnModel`.

    Args:
        widths: tokens that a filter reads, one per group of filters.
        filters: number of filters per group, in the order of `widths`.
        opening: how many first tokens are also pooled separately; None for none.
        pad_token_id: of the tokenizer; the network does not need it.
        max_position_embeddings: longest row; without positions any length works.
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
        """Width of the output: all filters, twice with an opening."""
        return sum(self.filters) * (1 if self.opening is None else 2)


@final
class TextCnnModel(PreTrainedModel):
    """ReLU of convolutions around every token; with `Pooling("max")` Kim's classifier.

    Source: Kim 2014, "Convolutional neural networks for sentence classification", arXiv:1408.5882, equations 2 and 3.
    Departs: there is a window around every token, with zeros beyond both ends of a row, where the source omits such
    windows. Padding is read as zeros too, so that it does not change the output. A convolution is a linear layer over
    windows, so that it is quantised as one. With `opening`, the first tokens have feature maps of their own, which are
    0 for later tokens: the beginning of a note tells its kind, and the maximum over a whole text loses positions
    (Kalchbrenner et al. 2014, arXiv:1404.2188, keep an order by k-max pooling; here two regions suffice).

    Attributes:
        filters: Linear, width x embedding_size -> filters, one per width. Column k * embedding_size + i reads dimension
            i of the window's k-th token.
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
        """Return the feature maps as `last_hidden_state` (rows, tokens, hidden_size)."""
        vectors = self.embeddings(input_ids)
        vectors = vectors * attention_mask.unsqueeze(-1).to(vectors.dtype)
        seen = [
            linear(token_windows(vectors, width))
            for width, linear in zip(self.config.widths, self.filters, strict=True)
        ]
        maps = torch.cat(seen, -1).relu()
        if self.config.opening is not None:
            early = torch.arange(maps.shape[1], device=maps.device) < self.config.opening
            # Maps are >= 0, so zeros for later tokens do not change the maximum.
            maps = torch.cat([maps, maps * early[:, None].to(maps.dtype)], -1)
        return BaseModelOutput(last_hidden_state=maps)

    def _init_weights(self, module: nn.Module) -> None:
        """Keep torch's initial values: transformers' 0.02 is too small without a norm after it."""


def token_windows(vectors: Float[Tensor, "rows tokens size"], width: int) -> Float[Tensor, "rows tokens window"]:
    """Return for every token the concatenated vectors of the `width` tokens around it; zeros beyond the row.

    An even window has one more token after the token than before it.
    """
    before = (width - 1) // 2
    framed = functional.pad(vectors, (0, 0, before, width - 1 - before))
    return torch.cat([framed[:, place : place + vectors.shape[1]] for place in range(width)], -1)
