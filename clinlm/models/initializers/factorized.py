"""A small transformer whose narrow embeddings come from its teacher's states of single tokens."""

from typing import cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clinlm.config.errors import ConfigError
from clinlm.models import structure
from clinlm.models.initializers.base import pooling_of
from clinlm.models.initializers.teacher_tokens import (
    TransformerStudent,
    finish_student,
    principal_components,
    project_head,
    root_mean_square,
    single_token_states,
    teacher_tokens,
)
from clinlm.models.model import Model, Network, PoolingName
from clinlm.tasks.base import Task


@final
class Factorized(TransformerStudent):
    """A transformer whose embeddings are narrower than its hidden state, with a projection between them.

    Source: Lan et al. 2020 (ALBERT), arXiv:1909.11942, section 3.1, factorised embeddings. The architecture is that of
    ELECTRA (Clark et al. 2020, arXiv:2003.10555), which has the projection.
    Departs: layers are not shared; embeddings are the principal components of the teacher's states of single tokens
    (see `TokenVectors`), for the tokens that the training texts need; the projection starts orthogonal, and the head as
    the teacher's, projected: the student starts near a bag of these vectors, and its fresh layers learn their order.

    Args:
        embedding_size: width of token vectors, below `hidden_size` and at most the teacher's hidden size.
        hidden_size: width of the hidden state; a multiple of `heads`.
        layers, heads, intermediate_size: number of layers, and of attention heads and FFN units of each.
        min_count: see `clinlm.models.vocabulary_pruning.tokens_to_keep`: rarer tokens have no vector.
        pooling, dropout: see `clinlm.models.model.Pooling` and `ModelSpec`.
        hidden_dropout, attention_dropout: inside the encoder; see `clinlm.models.initializers.base.with_dropout`.

    Raises:
        ConfigError: a setting out of range; (in `begin`) no teacher, or embeddings wider than its hidden state.
    """

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
        shape = {"hidden_size": hidden_size, "layers": layers, "heads": heads, "intermediate_size": intermediate_size}
        shape = {"embedding_size": embedding_size, **shape}
        super().__init__("electra", shape, dropout, hidden_dropout, attention_dropout)
        if not embedding_size < hidden_size:
            raise ConfigError(
                f"student.embedding_size must be < student.hidden_size, got {embedding_size} and {hidden_size}"
            )
        self.min_count, self.pooling = min_count, pooling

    def begin(self, task: Task, teacher: Model | None) -> Model:
        model = self.require(teacher)
        tokens = teacher_tokens(task, model, self.min_count)
        body = self.body(task, model, tokens)
        config = body.config
        states = single_token_states(model, tokens.numbers)
        found = principal_components(states, tokens.share, config.embedding_size)
        vectors = found.project(states)
        projection = cast(nn.Linear, structure.embedding_projection(body))
        nn.init.orthogonal_(projection.weight)
        with torch.no_grad():
            structure.word_embeddings(body).weight.copy_(vectors)
        # The norm after the embeddings divides them by their root mean square; the norms of the layers then scale the
        # projected ones back to 1.
        scale = root_mean_square(vectors, tokens.share) * (config.embedding_size / config.hidden_size) ** 0.5
        head = widen_head(project_head(model, found), projection.weight * scale)
        network = Network(body, pooling_of(task, self.pooling, config.hidden_size), head, self.dropout)
        return finish_student(network, config, task, tokens)


@torch.no_grad()
def widen_head(head: nn.Linear, directions: Float[Tensor, "hidden narrow"]) -> nn.Linear:
    """Return a head on the hidden state that equals `head` on its components along `directions`."""
    wide = nn.Linear(len(directions), head.out_features)
    wide.weight.copy_(head.weight @ directions.T)
    wide.bias.copy_(head.bias)
    return wide
