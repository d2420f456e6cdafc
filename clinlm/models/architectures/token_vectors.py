"""A bag of weighted token vectors: the smallest encoder."""

from typing import final

from jaxtyping import Int
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput


@final
class TokenVectorsConfig(PreTrainedConfig):
    """Shape of a `TokenVectorsModel`.

    Args:
        pad_token_id: of the tokenizer; the network does not need it.
        max_position_embeddings: longest row; without positions any length works.
    """

    model_type = "clinlm_token_vectors"

    vocab_size: int = 30522
    hidden_size: int = 64
    pad_token_id: int | None = 0
    max_position_embeddings: int = 1_000_000


@final
class TokenVectorsModel(PreTrainedModel):
    """The vector of every token times its weight; `Pooling("mean")` averages them.

    Source: Tulkens & van Dongen 2024, "Model2Vec", github.com/MinishLab/model2vec: a table of token vectors, weighted
    and averaged. Departs: vectors and weights are trainable parameters.
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
        """Return the weighted token vectors as `last_hidden_state` (rows, tokens, hidden_size)."""
        return BaseModelOutput(last_hidden_state=self.embeddings(input_ids) * self.weights(input_ids))

    def _init_weights(self, module: nn.Module) -> None:
        """Keep torch's initial values: an initializer sets them."""
