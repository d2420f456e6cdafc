"""A small transformer over its teacher's tokens, whose embeddings it keeps in fewer dimensions."""

from typing import Any, cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clinlm.models import structure
from clinlm.models.initializers.base import HeadBias, with_head
from clinlm.models.initializers.teacher_tokens import (
    TeacherTokens,
    TransformerStudent,
    finish_student,
    principal_components,
    teacher_tokens,
)
from clinlm.models.model import Model, PoolingName
from clinlm.tasks.base import Task


@final
class Projected(TransformerStudent):
    """A BERT with random layers and its teacher's tokens, so that it can imitate the teacher's hidden states.

    Source: the shapes of TinyBERT (Jiao et al. 2020, arXiv:1909.10351) and MiniLM (Wang et al. 2020, arXiv:2002.10957),
    which keep their teacher's vocabulary.
    Departs: there everything starts at random and learns from a large corpus; here the embeddings of tokens, positions
    and segment start as principal components of the teacher's (token vectors, weighted by their share of the training
    texts): before the norm, a token's embedding is the teacher's in fewer dimensions.

    Args:
        hidden_size: width of the hidden state, a multiple of `heads`; at most the teacher's.
        layers, heads, intermediate_size: number of layers, and of attention heads and FFN units of each.
        min_count: tokens that occur less often in the training texts are removed, as by
            `clinlm.models.vocabulary_pruning.tokens_to_keep`; None keeps the teacher's vocabulary, as the sources do.
        pooling, dropout, head_bias: see `clinlm.models.model.Pooling`, `ModelSpec` and `with_head`.
        hidden_dropout, attention_dropout: inside the encoder; see `clinlm.models.initializers.base.with_dropout`.

    Raises:
        ConfigError: a setting out of range; (in `begin`) no teacher, or a hidden state wider than the teacher's.
        ModelError: (in `begin`) the teacher has no encoder layers, or integer weights.
    """

    def __init__(
        self,
        hidden_size: int = 312,
        layers: int = 4,
        heads: int = 12,
        intermediate_size: int = 1200,
        min_count: int | None = None,
        pooling: PoolingName = "mean",
        dropout: float = 0.1,
        head_bias: HeadBias = "prior",
        hidden_dropout: float = 0.1,
        attention_dropout: float = 0.0,
    ) -> None:
        shape = {"hidden_size": hidden_size, "layers": layers, "heads": heads, "intermediate_size": intermediate_size}
        super().__init__("bert", shape, dropout, hidden_dropout, attention_dropout)
        self.min_count, self.pooling, self.head_bias = min_count, pooling, head_bias

    def sketch(self, teacher: Model | None) -> Model | None:
        if teacher is not None:
            structure.layers(teacher.network.body)
        return super().sketch(teacher)

    def begin(self, task: Task, teacher: Model | None) -> Model:
        model = self.require(teacher)
        tokens = teacher_tokens(task, model, self.min_count)
        body = self.body(task, model, tokens)
        _project_embeddings(body, model, tokens)
        network = with_head(body, task, self.pooling, self.dropout, self.head_bias)
        return finish_student(network, body.config, task, tokens)


@torch.no_grad()
def _project_embeddings(body: Any, model: Model, tokens: TeacherTokens) -> None:
    """Overwrite the embeddings of a fresh student with the teacher's, in fewer dimensions."""
    theirs: Any = model.network.body
    structure.layers(theirs)  # raises for other architectures
    words = theirs.get_input_embeddings()(torch.tensor(tokens.numbers))
    places, segments = structure.position_embeddings(theirs), structure.segment_embeddings(theirs)
    segment = torch.zeros_like(words[:1]) if segments is None else segments.weight[:1]
    words, segment = _widen(theirs, words), _widen(theirs, segment)
    found = principal_components(words, tokens.share, body.config.hidden_size)
    body.get_input_embeddings().weight.copy_(found.project(words))
    own = cast(nn.Embedding, structure.position_embeddings(body))
    if places is not None:  # else the student's own stay random
        # RoBERTa's positions start after the id of its padding token: only the last rows are used.
        rows = places.weight[-model.max_tokens :][: own.num_embeddings]
        own.weight.copy_(_widen(theirs, rows) @ found.directions)
    # The projection subtracts the mean from every token; the segment embedding adds its part in these directions back.
    cast(nn.Embedding, structure.segment_embeddings(body)).weight.copy_((segment + found.mean) @ found.directions)


def _widen(body: nn.Module, vectors: Float[Tensor, "rows narrow"]) -> Float[Tensor, "rows wide"]:
    """Return embeddings with a width of their own (ELECTRA) projected to the hidden state; others unchanged."""
    projection = structure.embedding_projection(body)
    return vectors if projection is None else vectors @ projection.weight.T
