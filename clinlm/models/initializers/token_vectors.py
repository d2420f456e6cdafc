"""Static token embeddings distilled from a teacher."""

from typing import final

import torch
from transformers import AutoModel

from clinlm.config.ranges import check_positive
from clinlm.models import structure
from clinlm.models.architectures.token_vectors import TokenVectorsConfig
from clinlm.models.initializers.base import TeacherInitializer, check_rates, plain_config, pooling_of, sketched
from clinlm.models.initializers.teacher_tokens import (
    MADE_UP,
    finish_student,
    principal_components,
    project_head,
    single_token_states,
    teacher_tokens,
)
from clinlm.models.model import Model, Network
from clinlm.tasks.base import Task


@final
class TokenVectors(TeacherInitializer):
    """A weighted bag of token vectors: principal components of the teacher's pooled states of single tokens.

    Source: Tulkens & van Dongen 2024, "Model2Vec", github.com/MinishLab/model2vec: one forward pass per token,
    principal components, and token weights a / (a + share) (Arora et al. 2017, "A simple but tough-to-beat baseline for
    sentence embeddings": SIF, there a = 1e-3).
    Departs: tokens and shares are those of the training texts; vectors and weights are trainable; the head is the
    teacher's, projected, so that the student starts with the teacher's predictions for single tokens.

    Args:
        hidden_size: width of token vectors, at most the teacher's hidden size.
        smoothing: a in the weight of a token; positive. A large value weights all tokens alike.
        min_count: see `clinlm.models.vocabulary_pruning.tokens_to_keep`: rarer tokens have no vector.
        dropout: see `ModelSpec`.

    Raises:
        ConfigError: a setting out of range; (in `begin`) no teacher, or vectors wider than its hidden state.
    """

    def __init__(
        self, hidden_size: int = 64, smoothing: float = 1e-3, min_count: int = 1, dropout: float = 0.1
    ) -> None:
        check_rates(dropout=dropout)
        check_positive("student.smoothing", smoothing)
        self.hidden_size, self.smoothing, self.min_count, self.dropout = hidden_size, smoothing, min_count, dropout

    def sketch(self, teacher: Model | None) -> Model:
        if teacher is not None:
            structure.check_trainable(teacher.network)
        config = TokenVectorsConfig(vocab_size=MADE_UP, hidden_size=self.hidden_size, pad_token_id=0)
        return sketched(plain_config(config))

    def begin(self, task: Task, teacher: Model | None) -> Model:
        model = self.require(teacher)
        tokens = teacher_tokens(task, model, self.min_count)
        states = single_token_states(model, tokens.numbers)
        found = principal_components(states, tokens.share, self.hidden_size)
        pad = tokens.tokenizer.pad_token_id
        config = TokenVectorsConfig(vocab_size=len(tokens.numbers), hidden_size=self.hidden_size, pad_token_id=pad)
        body = AutoModel.from_config(config, dtype=torch.float32, trust_remote_code=False)
        weights = self.smoothing / (self.smoothing + tokens.share)
        weights = weights / (tokens.share @ weights)  # so that their mean over a text is about 1
        with torch.no_grad():
            body.embeddings.weight.copy_(found.project(states))
            body.weights.weight.copy_(weights[:, None])
        pooling = pooling_of(task, "mean", self.hidden_size)
        return finish_student(Network(body, pooling, project_head(model, found), self.dropout), config, task, tokens)
