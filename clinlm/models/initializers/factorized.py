"""A small transformer whose narrow embeddings are what its teacher makes of every token alone."""

from typing import Any, cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from clinlm.models import structure
from clinlm.models.initializers.base import Initializer, check_rates, plain_config, pooling_of
from clinlm.models.initializers.teacher_tokens import (
    principal_components,
    project_head,
    root_mean_square,
    single_token_states,
    teacher_tokens,
)
from clinlm.models.model import Model, ModelSpec, Network, PoolingName, without_pooler
from clinlm.tasks.base import Task


@final
class Factorized(Initializer):
    """A transformer with embeddings of their own, smaller width, and a projection of them to the hidden state.

    Source: Lan et al. 2020 (ALBERT), arXiv:1909.11942, section 3.1, factorised embeddings. The architecture is that of
    ELECTRA (Clark et al. 2020, arXiv:2003.10555), which has the projection.
    Departs: layers are not shared; embeddings are the principal components of what the teacher makes of every token
    alone (see `TokenVectors`), for the tokens that the training texts need; the projection begins orthogonal, and the
    head as the teacher's, carried through it: the student begins near a bag of these vectors, which its fresh layers
    then learn to read in order.

    Args:
        embedding_size: width of a token's vector, below `hidden_size` and at most the teacher's hidden size.
        hidden_size: width of the hidden state; a multiple of `heads`.
        layers, heads, intermediate_size: number of layers, and of attention heads and FFN units of each.
        min_count: tokens that occur less often in the training texts have no vector; see
            `clinlm.models.token_pruning.tokens_to_keep`.
        pooling, dropout: see `clinlm.models.model.Pooling` and `ModelSpec`.
        hidden_dropout, attention_dropout: inside the encoder; see `clinlm.models.initializers.base.with_dropout`.

    Raises:
        ValueError: a setting out of its range; (on beginning) no teacher, or embeddings wider than its hidden state.
    """

    needs_teacher = True

    def __init__(
        self,
        embedding_size: int = 96,
        hidden_size: int = 192,
        layers: int = 3,
        heads: int = 6,
        intermediate_size: int = 768,
        min_count: int = 1,
        pooling: PoolingName = "mean",
        dropout: float = 0.1,
        hidden_dropout: float = 0.1,
        attention_dropout: float = 0.0,
    ) -> None:
        check_rates(dropout=dropout, hidden_dropout=hidden_dropout, attention_dropout=attention_dropout)
        if not 1 <= embedding_size < hidden_size:
            raise ValueError(
                f"student.embedding_size is at least 1 and below student.hidden_size; got {embedding_size} and "
                f"{hidden_size}"
            )
        if min(layers, heads, intermediate_size) < 1 or hidden_size % heads:
            raise ValueError(
                "student.layers, student.heads and student.intermediate_size are at least 1, and student.hidden_size a "
                f"multiple of heads; got {layers}, {heads}, {intermediate_size} and {hidden_size}"
            )
        self.shape: dict[str, Any] = {
            "embedding_size": embedding_size,
            "hidden_size": hidden_size,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "intermediate_size": intermediate_size,
            "hidden_dropout_prob": hidden_dropout,
            "attention_probs_dropout_prob": attention_dropout,
        }
        self.min_count, self.pooling, self.dropout = min_count, pooling, dropout

    def begin(self, task: Task, teacher: Model | None) -> Model:
        """See `Initializer.begin`."""
        model, tokens = teacher_tokens(task, teacher, self.min_count)
        known = {
            "vocab_size": len(tokens.numbers),
            "pad_token_id": tokens.tokenizer.pad_token_id,
            "max_position_embeddings": min(model.max_tokens, task.max_tokens),
            "type_vocab_size": 1,
        }
        config = AutoConfig.for_model("electra", **self.shape | known)
        body = without_pooler(AutoModel.from_config(config, dtype=torch.float32))
        states = single_token_states(model, tokens.numbers)
        found = principal_components(states, tokens.share, config.embedding_size)
        vectors = found.project(states)
        projection = cast(nn.Linear, structure.embedding_projection(body))
        nn.init.orthogonal_(projection.weight)
        with torch.no_grad():
            structure.word_embeddings(body).weight.copy_(vectors)
        # The norm after the embeddings divides them by their spread, those of the layers multiply by what brings the
        # projected ones back to 1.
        scale = root_mean_square(vectors, tokens.share) * (config.embedding_size / config.hidden_size) ** 0.5
        head = widened(project_head(model, found), projection.weight * scale)
        network = Network(body, pooling_of(task, self.pooling, config.hidden_size), head, self.dropout)
        return Model(
            ModelSpec(plain_config(config), task.outputs, network.pooling.name, self.dropout), network, tokens.tokenizer
        )

    def fingerprint(self) -> str:
        """See `Initializer.fingerprint`: the teacher's key is in the stage's key already."""
        return "teacher"


@torch.no_grad()
def widened(head: nn.Linear, directions: Float[Tensor, "hidden narrow"]) -> nn.Linear:
    """Return the head that reads from the hidden state what `head` reads from vectors: their parts in `directions`."""
    wide = nn.Linear(len(directions), head.out_features)
    wide.weight.copy_(head.weight @ directions.T)
    wide.bias.copy_(head.bias)
    return wide
