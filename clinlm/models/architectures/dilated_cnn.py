"""A convolutional tagger's encoder: a stack of dilated convolutions over a table of token vectors."""

from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput


@final
class DilatedCnnConfig(PreTrainedConfig):
    """Shape of a `DilatedCnnModel`.

    Args:
        hidden_size: filters of every convolution, and width of the output.
        dilations: distance between the tokens that a filter reads, one per convolution, in order.
        pad_token_id: of the tokenizer; the network does not need it.
        max_position_embeddings: longest row; without positions any length works.
    """

    model_type = "clinlm_dilated_cnn"

    vocab_size: int = 30522
    embedding_size: int = 128
    hidden_size: int = 192
    dilations: list[int] | tuple[int, ...] = (1, 2, 4)
    pad_token_id: int | None = 0
    max_position_embeddings: int = 1_000_000


@final
class DilatedCnnModel(PreTrainedModel):
    """Convolutions over three tokens with growing dilation, so that each token sees a wide context.

    Source: Strubell et al. 2017, "Fast and accurate entity recognition with iterated dilated convolutions",
    arXiv:1702.02098, section 3.
    Departs: convolutions are residual (He et al. 2016, arXiv:1512.03385) and followed by a layer norm; the block is not
    iterated. A convolution is a linear layer over windows, so that it is quantised as one. Every layer reads padding as
    zeros, so that padding does not change the output.

    Attributes:
        entry: Linear, embedding_size -> hidden_size.
        convolutions: Linear, 3 x hidden_size -> hidden_size, one per dilation. Column k * hidden_size + i reads
            dimension i of the window's k-th token.
        norms: LayerNorm over hidden_size, one per dilation.
    """

    config_class = DilatedCnnConfig

    def __init__(self, config: DilatedCnnConfig) -> None:
        super().__init__(config)
        size = config.hidden_size
        self.embeddings = nn.Embedding(config.vocab_size, config.embedding_size)
        self.entry = nn.Linear(config.embedding_size, size)
        self.convolutions = nn.ModuleList(nn.Linear(3 * size, size) for _ in config.dilations)
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _ in config.dilations)
        self.post_init()  # type: ignore[no-untyped-call]

    def get_input_embeddings(self) -> nn.Module:
        """Return the table of token vectors."""
        return self.embeddings

    def forward(
        self, input_ids: Int[Tensor, "rows tokens"], attention_mask: Int[Tensor, "rows tokens"]
    ) -> BaseModelOutput:
        """Return the output of the last convolution as `last_hidden_state` (rows, tokens, hidden_size)."""
        hidden = self.entry(self.embeddings(input_ids))
        keep = attention_mask.unsqueeze(-1).to(hidden.dtype)
        hidden = hidden * keep
        for dilation, linear, norm in zip(self.config.dilations, self.convolutions, self.norms, strict=True):
            hidden = norm(hidden + linear(dilated_windows(hidden, dilation)).relu()) * keep
        return BaseModelOutput(last_hidden_state=hidden)

    def _init_weights(self, module: nn.Module) -> None:
        """Keep torch's initial values: transformers' 0.02 is too small without a norm after it."""


def dilated_windows(hidden: Float[Tensor, "rows tokens size"], dilation: int) -> Float[Tensor, "rows tokens window"]:
    """Return for every token the vectors at distance -`dilation`, 0 and `dilation`; zeros beyond the row."""
    framed = functional.pad(hidden, (0, 0, dilation, dilation))
    length = hidden.shape[1]
    return torch.cat([framed[:, start : start + length] for start in (0, dilation, 2 * dilation)], -1)
