"""Static embeddings distilled from a teacher: what it says of every token alone, in few dimensions."""

from typing import final

import torch
from transformers import AutoModel

from clinlm.models.architectures.token_vectors import TokenVectorsConfig
from clinlm.models.initializers.base import Initializer, check_rates, plain_config, pooling_of
from clinlm.models.initializers.teacher_tokens import (
    principal_components,
    project_head,
    single_token_states,
    teacher_tokens,
)
from clinlm.models.model import Model, ModelSpec, Network
from clinlm.tasks.base import Task


@final
class TokenVectors(Initializer):
    """A bag of token vectors: the teacher's pooled states of every token alone, their principal components, weighted.

    Source: Tulkens & van Dongen 2024, "Model2Vec", github.com/MinishLab/model2vec: one forward pass for every token,
    principal components, a weight a / (a + share) a token (Arora et al. 2017, "A simple but tough-to-beat baseline for
    sentence embeddings": SIF, there a = 1e-3).
    Departs: the tokens are those of the training texts, and the shares theirs; vectors and weights go on learning; the
    head is the teacher's, carried into the new dimensions, so that the student begins with what the teacher makes of
    single tokens.

    Args:
        hidden_size: width of a token's vector, at most the teacher's.
        smoothing: a, in the weight of a token; positive. A large one weighs all tokens alike.
        min_count: tokens that occur less often in the training texts have no vector; see
            `clinlm.models.token_pruning.tokens_to_keep`.
        dropout: see `ModelSpec`.

    Raises:
        ValueError: a setting out of its range; (on beginning) no teacher, or vectors wider than its own.
    """

    needs_teacher = True

    def __init__(
        self, hidden_size: int = 64, smoothing: float = 1e-3, min_count: int = 1, dropout: float = 0.1
    ) -> None:
        check_rates(dropout=dropout)
        if smoothing <= 0:
            raise ValueError(f"student.smoothing is positive; got {smoothing}")
        self.hidden_size, self.smoothing, self.min_count, self.dropout = hidden_size, smoothing, min_count, dropout

    def begin(self, task: Task, teacher: Model | None) -> Model:
        """See `Initializer.begin`."""
        model, tokens = teacher_tokens(task, teacher, self.min_count)
        states = single_token_states(model, tokens.numbers)
        found = principal_components(states, tokens.share, self.hidden_size)
        pad = tokens.tokenizer.pad_token_id
        config = TokenVectorsConfig(vocab_size=len(tokens.numbers), hidden_size=self.hidden_size, pad_token_id=pad)
        body = AutoModel.from_config(config, dtype=torch.float32)
        weights = self.smoothing / (self.smoothing + tokens.share)
        weights = weights / (tokens.share @ weights)  # the mean over a text is a mean
        with torch.no_grad():
            body.embeddings.weight.copy_(found.project(states))
            body.weights.weight.copy_(weights[:, None])
        pooling = pooling_of(task, "mean", self.hidden_size)
        network = Network(body, pooling, project_head(model, found), self.dropout)
        return Model(
            ModelSpec(plain_config(config), task.outputs, pooling.name, self.dropout), network, tokens.tokenizer
        )

    def fingerprint(self) -> str:
        """See `Initializer.fingerprint`: the teacher's key is in the stage's key already."""
        return "teacher"
