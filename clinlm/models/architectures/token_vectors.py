"""A bag of token vectors, each with a weight of its own: the smallest encoder there is."""

from typing import final

from jaxtyping import Int
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput


@final
class TokenVectorsConfig(PreTrainedConfig):
    """The shape of `TokenVectors`.

    Args:
        vocab_size: tokens.
        hidden_size: width of a token's vector.
        pad_token_id: of the tokenizer; the network does not need it.
        max_position_embeddings: of no meaning, as there are no positions: rows may be as long as one likes.
    """

    model_type = "clinlm_token_vectors"

    vocab_size: int = 30522
    hidden_size: int = 64
    pad_token_id: int | None = 0
    max_position_embeddings: int = 1_000_000


@final
class TokenVectorsModel(PreTrainedModel):
    """Every token's vector times its weight; `Pooling("mean")` makes of them the vector of a text.

    Source: Tulkens & van Dongen 2024, "Model2Vec", github.com/MinishLab/model2vec: a table of token vectors, weighted
    and averaged. Departs: vectors and weights are parameters, and learn.

    Attributes:
        embeddings: one vector a token.
        weights: one number a token.
    """

    config_class = TokenVectorsConfig

    def __init__(self, config: TokenVectorsConfig) -> None:
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.weights = nn.Embedding(config.vocab_size, 1)
        self.post_init()  # type: ignore[no-untyped-call]

    def get_input_embeddings(self) -> nn.Module:
        """Return the table of token vectors."""
        return self.embeddings

    def forward(
        self, input_ids: Int[Tensor, "rows tokens"], attention_mask: Int[Tensor, "rows tokens"]
    ) -> BaseModelOutput:
        """Return, as `last_hidden_state` (rows, tokens, hidden_size), the weighted vector of every token."""
        return BaseModelOutput(last_hidden_state=self.embeddings(input_ids) * self.weights(input_ids))

    def _init_weights(self, module: nn.Module) -> None:
        """Leave torch's own: a start writes the values."""
