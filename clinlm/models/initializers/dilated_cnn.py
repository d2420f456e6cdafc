"""A dilated convolutional student over vectors of tokens from its teacher."""

from collections.abc import Sequence
from typing import final

import torch
from transformers import AutoModel

from clinlm.models.architectures.dilated_cnn import DilatedCnnConfig
from clinlm.models.initializers.base import HeadBias, Initializer, check_rates, plain_config, with_head
from clinlm.models.initializers.teacher_tokens import (
    principal_components,
    root_mean_square,
    single_token_states,
    teacher_tokens,
)
from clinlm.models.model import Model, ModelSpec, PoolingName
from clinlm.tasks.base import Task


@final
class DilatedCnn(Initializer):
    """Dilated convolutions over the principal components of what the teacher makes of every token alone.

    Source: Strubell et al. 2017, "Fast and accurate entity recognition with iterated dilated convolutions",
    arXiv:1702.02098; vectors as in `clinlm.models.initializers.text_cnn`.

    Args:
        embedding_size: width of a token's vector, at most the teacher's hidden size.
        hidden_size: filters of every convolution.
        dilations: tokens between those that a filter reads, one number a convolution.
        max_tokens: longest row that it reads, special tokens included; None for the task's.
        min_count: tokens that occur less often in the training texts have no vector; see
            `clinlm.models.token_pruning.tokens_to_keep`.
        pooling, dropout, head_bias: see `clinlm.models.model.Pooling`, `ModelSpec` and `with_head`.

    Raises:
        ValueError: a setting out of its range; (on beginning) no teacher, or vectors wider than its hidden state.
    """

    needs_teacher = True

    def __init__(
        self,
        embedding_size: int = 128,
        hidden_size: int = 192,
        dilations: Sequence[int] = (1, 2, 4),
        max_tokens: int | None = None,
        min_count: int = 1,
        pooling: PoolingName = "max",
        dropout: float = 0.1,
        head_bias: HeadBias = "prior",
    ) -> None:
        check_rates(dropout=dropout)
        if not dilations or min(dilations) < 1 or hidden_size < 1:
            raise ValueError(
                "student.dilations are numbers of tokens, student.hidden_size a number, all at least 1; got "
                f"{list(dilations)} and {hidden_size}"
            )
        if max_tokens is not None and max_tokens < 3:
            raise ValueError(f"student.max_tokens is at least 3, or null for the task's; got {max_tokens}")
        self.embedding_size, self.hidden_size, self.dilations = embedding_size, hidden_size, list(dilations)
        self.max_tokens, self.min_count, self.pooling = max_tokens, min_count, pooling
        self.dropout, self.head_bias = dropout, head_bias

    def begin(self, task: Task, teacher: Model | None) -> Model:
        """See `Initializer.begin`."""
        model, tokens = teacher_tokens(task, teacher, self.min_count)
        states = single_token_states(model, tokens.numbers)
        vectors = principal_components(states, tokens.share, self.embedding_size).project(states)
        config = DilatedCnnConfig(
            vocab_size=len(tokens.numbers),
            embedding_size=self.embedding_size,
            hidden_size=self.hidden_size,
            dilations=self.dilations,
            pad_token_id=tokens.tokenizer.pad_token_id,
        )
        if self.max_tokens is not None:
            config.max_position_embeddings = self.max_tokens
        body = AutoModel.from_config(config, dtype=torch.float32)
        with torch.no_grad():
            body.embeddings.weight.copy_(vectors / root_mean_square(vectors, tokens.share))
        network = with_head(body, task, self.pooling, self.dropout, self.head_bias)
        spec = ModelSpec(plain_config(config), task.outputs, network.pooling.name, self.dropout)
        return Model(spec, network, tokens.tokenizer)

    def fingerprint(self) -> str:
        """See `Initializer.fingerprint`: the teacher's key is in the stage's key already."""
        return "teacher"
