"""A small transformer of any shape over its teacher's tokens, whose embeddings it has in fewer dimensions."""

from typing import Any, cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from clinlm.models import structure
from clinlm.models.initializers.base import HeadBias, Initializer, check_rates, plain_config, with_head
from clinlm.models.initializers.teacher_tokens import TeacherTokens, principal_components, teacher_tokens
from clinlm.models.model import Model, ModelSpec, PoolingName, without_pooler
from clinlm.tasks.base import Task


@final
class Projected(Initializer):
    """A BERT of random layers that reads its teacher's tokens, so that it can imitate what is inside it.

    Source: the shapes of TinyBERT (Jiao et al. 2020, arXiv:1909.10351) and MiniLM (Wang et al. 2020, arXiv:2002.10957),
    which keep their teacher's vocabulary.
    Departs: there everything begins at random and learns from a large corpus; here the embeddings of tokens, positions
    and segment begin as the principal components of the teacher's (the vectors of tokens, each counted by its share of
    the training texts), so that before its norm a token's embedding is the teacher's in fewer dimensions.

    Args:
        hidden_size: width of the hidden state, a multiple of `heads`; at most the teacher's.
        layers, heads, intermediate_size: number of layers, and of attention heads and FFN units of each.
        min_count: tokens that occur less often in the training texts are removed, as by
            `clinlm.models.token_pruning.tokens_to_keep`; None keeps the teacher's vocabulary, as the sources do.
        pooling, dropout, head_bias: see `clinlm.models.model.Pooling`, `ModelSpec` and `with_head`.
        hidden_dropout, attention_dropout: inside the encoder; see `clinlm.models.initializers.base.with_dropout`.

    Raises:
        ValueError: a setting out of its range; (on beginning) no teacher, one without encoder layers or with integer
            weights, or a hidden state wider than the teacher's.
    """

    needs_teacher = True

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
        check_rates(dropout=dropout, hidden_dropout=hidden_dropout, attention_dropout=attention_dropout)
        if min(hidden_size, layers, heads, intermediate_size) < 1 or hidden_size % heads:
            raise ValueError(
                "student.hidden_size, layers, heads and intermediate_size are at least 1, and hidden_size a multiple "
                f"of heads; got {hidden_size}, {layers}, {heads} and {intermediate_size}"
            )
        self.shape: dict[str, Any] = {
            "hidden_size": hidden_size,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "intermediate_size": intermediate_size,
            "hidden_dropout_prob": hidden_dropout,
            "attention_probs_dropout_prob": attention_dropout,
        }
        self.min_count, self.pooling, self.dropout, self.head_bias = min_count, pooling, dropout, head_bias

    def begin(self, task: Task, teacher: Model | None) -> Model:
        """See `Initializer.begin`."""
        model, tokens = teacher_tokens(task, teacher, self.min_count)
        known = {
            "vocab_size": len(tokens.numbers),
            "pad_token_id": tokens.tokenizer.pad_token_id,
            "max_position_embeddings": min(model.max_tokens, task.max_tokens),
            "type_vocab_size": 1,
        }
        config = AutoConfig.for_model("bert", **self.shape | known)
        body = without_pooler(AutoModel.from_config(config, dtype=torch.float32))
        _project(body, model, tokens)
        network = with_head(body, task, self.pooling, self.dropout, self.head_bias)
        return Model(
            ModelSpec(plain_config(config), task.outputs, network.pooling.name, self.dropout), network, tokens.tokenizer
        )

    def fingerprint(self) -> str:
        """See `Initializer.fingerprint`: the teacher's key is in the stage's key already."""
        return "teacher"


@torch.no_grad()
def _project(body: Any, model: Model, tokens: TeacherTokens) -> None:
    """Write the teacher's embeddings, in fewer dimensions, over those of a fresh student."""
    theirs: Any = model.network.body
    structure.layers(theirs)  # or raises
    words = theirs.get_input_embeddings()(torch.tensor(tokens.numbers))
    places = structure.position_embeddings(body)
    # RoBERTa's positions begin after its padding token's number: the last rows are those in use.
    rows = structure.position_embeddings(theirs).weight[-model.max_tokens :][: places.num_embeddings]
    segments = structure.segment_embeddings(theirs)
    segment = torch.zeros_like(rows[:1]) if segments is None else segments.weight[:1]
    words, rows, segment = (_widened(theirs, one) for one in (words, rows, segment))
    found = principal_components(words, tokens.share, body.config.hidden_size)
    body.get_input_embeddings().weight.copy_(found.project(words))
    places.weight.copy_(rows @ found.directions)
    # The mean is taken off every token; the part of it in these directions comes back here.
    cast(nn.Embedding, structure.segment_embeddings(body)).weight.copy_((segment + found.mean) @ found.directions)


def _widened(body: nn.Module, vectors: Float[Tensor, "rows narrow"]) -> Float[Tensor, "rows wide"]:
    """Return what the encoder makes of embeddings that have a width of their own (ELECTRA)."""
    projection = structure.embedding_projection(body)
    return vectors if projection is None else vectors @ projection.weight.T
