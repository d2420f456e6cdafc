"""A convolutional student over vectors of tokens from its teacher."""

from collections.abc import Sequence
from typing import final

import torch
from transformers import AutoModel

from clinlm.models.architectures.text_cnn import TextCnnConfig
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
class TextCnn(Initializer):
    """Kim's classifier over the principal components of what the teacher makes of every token alone.

    Source: Kim 2014, "Convolutional neural networks for sentence classification", arXiv:1408.5882, with vectors that go
    on learning (CNN-non-static).
    Departs: there vectors of words from word2vec, here of the tokens that the training texts need, from the teacher
    (see `TokenVectors`), scaled to a variance of 1; a smaller dropout, as the teacher's logits regularise too.

    Args:
        embedding_size: width of a token's vector, at most the teacher's hidden size.
        widths: tokens that a filter reads, one number a group of filters.
        filters: of every width.
        opening: how many first tokens are also pooled by themselves; None for none. See `TextCnn` there.
        max_tokens: longest row that it reads, special tokens included; None for the task's.
        min_count: tokens that occur less often in the training texts have no vector; see
            `clinlm.models.token_pruning.tokens_to_keep`.
        pooling, dropout, head_bias: see `clinlm.models.model.Pooling`, `ModelSpec` and `with_head`.

    Raises:
        ValueError: a setting out of its range; (on beginning) no teacher, vectors wider than its hidden state, or an
            opening where words are answered for.
    """

    needs_teacher = True

    def __init__(
        self,
        embedding_size: int = 128,
        widths: Sequence[int] = (2, 3, 4),
        filters: int = 128,
        opening: int | None = None,
        max_tokens: int | None = None,
        min_count: int = 1,
        pooling: PoolingName = "max",
        dropout: float = 0.1,
        head_bias: HeadBias = "prior",
    ) -> None:
        check_rates(dropout=dropout)
        if not widths or min(widths) < 1 or filters < 1:
            raise ValueError(
                f"student.widths are numbers of tokens, student.filters a number, all at least 1; got {list(widths)} "
                f"and {filters}"
            )
        if opening is not None and opening < 1:
            raise ValueError(f"student.opening is a number of tokens from 1 on, or null for none; got {opening}")
        if max_tokens is not None and max_tokens < 3:
            raise ValueError(f"student.max_tokens is at least 3, or null for the task's; got {max_tokens}")
        self.embedding_size, self.widths, self.filters, self.opening = embedding_size, list(widths), filters, opening
        self.max_tokens, self.min_count, self.pooling = max_tokens, min_count, pooling
        self.dropout, self.head_bias = dropout, head_bias

    def begin(self, task: Task, teacher: Model | None) -> Model:
        """See `Initializer.begin`."""
        if task.by_word and self.opening is not None:
            raise ValueError(
                "the opening is pooled by itself, and where words are answered for nothing is pooled; student.opening="
                f"{self.opening} came; set student.opening=null"
            )
        model, tokens = teacher_tokens(task, teacher, self.min_count)
        states = single_token_states(model, tokens.numbers)
        vectors = principal_components(states, tokens.share, self.embedding_size).project(states)
        config = TextCnnConfig(
            vocab_size=len(tokens.numbers),
            embedding_size=self.embedding_size,
            widths=self.widths,
            filters=[self.filters] * len(self.widths),
            opening=self.opening,
            pad_token_id=tokens.tokenizer.pad_token_id,
        )
        if self.max_tokens is not None:
            config.max_position_embeddings = self.max_tokens
        body = AutoModel.from_config(config, dtype=torch.float32)
        with torch.no_grad():
            body.embeddings.weight.copy_(vectors / root_mean_square(vectors, tokens.share))
        network = with_head(body, task, self.pooling, self.dropout, self.head_bias)
        return Model(
            ModelSpec(plain_config(config), task.outputs, network.pooling.name, self.dropout), network, tokens.tokenizer
        )

    def fingerprint(self) -> str:
        """See `Initializer.fingerprint`: the teacher's key is in the stage's key already."""
        return "teacher"
