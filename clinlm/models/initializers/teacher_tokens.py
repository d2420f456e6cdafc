"""Base classes of students of another architecture: tokens and token states of their teacher."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedTokenizerBase

from clinlm.config.errors import ConfigError
from clinlm.config.ranges import check_interval
from clinlm.models import structure, vocabulary_pruning
from clinlm.models.initializers.base import HeadBias, TeacherInitializer, check_rates, plain_config, sketched, with_head
from clinlm.models.model import Model, ModelSpec, Network, PoolingName, in_parts
from clinlm.tasks.base import Task
from clinlm.text.group_floor import LearntTerms

MADE_UP = 1000
"""Tokens of a sketch: how many the training texts need is not known yet."""


@dataclass(frozen=True)
class TeacherTokens:
    """The tokens of a student.

    Attributes:
        tokenizer: the teacher's, whole or with these tokens only.
        numbers: the teacher's ids, ascending.
        share: frequency of each token in the training texts, with one added to each count; sums to 1.
        learnt: what the choice took from the training texts; None where all tokens are kept.
    """

    tokenizer: PreTrainedTokenizerBase
    numbers: list[int]
    share: Float[Tensor, " tokens"]
    learnt: LearntTerms | None


def teacher_tokens(task: Task, teacher: Model, min_count: int | None) -> TeacherTokens:
    """Return the teacher's tokens that the training texts need, or all of them.

    Which tokens are kept tells what is in the notes: a token needs `task.min_groups` groups (patients).

    Args:
        task: opened; its training texts are counted.
        teacher: of the stage.
        min_count: see `clinlm.models.vocabulary_pruning.tokens_to_keep`; None for all tokens.

    Raises:
        ModelError: the teacher has integer weights.
    """
    structure.check_trainable(teacher.network)
    tokenizer, learnt = teacher.tokenizer, None
    if min_count is None:
        counts = vocabulary_pruning.count_tokens(tokenizer, task.texts("train"))
        numbers = list(range(len(counts)))
    else:
        counts, rare = vocabulary_pruning.count_common_tokens(tokenizer, task.texts("train"), task.floor)
        numbers = vocabulary_pruning.tokens_to_keep(tokenizer, counts, min_count)
        tokenizer = vocabulary_pruning.trim_tokenizer(tokenizer, numbers)
        learnt = LearntTerms(int((counts[numbers] >= min_count).sum()), rare, task.min_groups)
    often = torch.from_numpy(counts[numbers]).double() + 1
    return TeacherTokens(tokenizer, numbers, (often / often.sum()).float(), learnt)


class ConvolutionalStudent(TeacherInitializer):
    """Convolutions over the principal components of the teacher's states of single tokens.

    Args:
        embedding_size: width of token vectors, at most the teacher's hidden size.
        max_tokens: longest row, special tokens included; None for the task's limit.
        min_count: see `clinlm.models.vocabulary_pruning.tokens_to_keep`: rarer tokens have no vector.
        pooling, dropout, head_bias: see `clinlm.models.model.Pooling`, `ModelSpec` and `with_head`.
    """

    def __init__(
        self,
        embedding_size: int,
        max_tokens: int | None,
        min_count: int,
        pooling: PoolingName,
        dropout: float,
        head_bias: HeadBias,
    ) -> None:
        check_rates(dropout=dropout)
        if max_tokens is not None and max_tokens < 3:
            raise ConfigError(f"student.max_tokens must be >= 3, or null for the task's limit, got {max_tokens}")
        self.embedding_size, self.max_tokens, self.min_count = embedding_size, max_tokens, min_count
        self.pooling, self.dropout, self.head_bias = pooling, dropout, head_bias

    @abstractmethod
    def config(self, **known: Any) -> PretrainedConfig:
        """Return the configuration of the network, including what is known of its tokens."""

    @final
    def sketch(self, teacher: Model | None) -> Model | None:
        if teacher is not None:
            structure.check_trainable(teacher.network)
        config = self.config(vocab_size=MADE_UP, embedding_size=self.embedding_size, pad_token_id=0)
        return sketched(plain_config(config))

    def begin(self, task: Task, teacher: Model | None) -> Model:
        model = self.require(teacher)
        tokens = teacher_tokens(task, model, self.min_count)
        states = single_token_states(model, tokens.numbers)
        vectors = principal_components(states, tokens.share, self.embedding_size).project(states)
        config: Any = self.config(
            vocab_size=len(tokens.numbers),
            embedding_size=self.embedding_size,
            pad_token_id=tokens.tokenizer.pad_token_id,
        )
        if self.max_tokens is not None:
            config.max_position_embeddings = self.max_tokens
        body = AutoModel.from_config(config, dtype=torch.float32, trust_remote_code=False)
        with torch.no_grad():
            body.embeddings.weight.copy_(vectors / root_mean_square(vectors, tokens.share))
        network = with_head(body, task, self.pooling, self.dropout, self.head_bias)
        return finish_student(network, config, task, tokens)


class TransformerStudent(TeacherInitializer):
    """A small transformer of any shape over its teacher's tokens.

    Args:
        shape: see the subclasses: `hidden_size`, `layers`, `heads`, `intermediate_size` and, if it has one,
            `embedding_size`.
        hidden_dropout, attention_dropout: inside the encoder; see `clinlm.models.initializers.base.with_dropout`.
    """

    def __init__(
        self, model_type: str, shape: dict[str, int], dropout: float, hidden_dropout: float, attention_dropout: float
    ) -> None:
        check_rates(dropout=dropout, hidden_dropout=hidden_dropout, attention_dropout=attention_dropout)
        if min(shape.values()) < 1 or shape["hidden_size"] % shape["heads"]:
            raise ConfigError(
                "student.hidden_size, layers, heads, intermediate_size and embedding_size must be >= 1, and "
                f"hidden_size a multiple of heads, got {shape}"
            )
        names = {"layers": "num_hidden_layers", "heads": "num_attention_heads"}
        self.dropout, self.model_type = dropout, model_type
        self.shape: dict[str, Any] = {names.get(name, name): size for name, size in shape.items()}
        self.shape |= {"hidden_dropout_prob": hidden_dropout, "attention_probs_dropout_prob": attention_dropout}

    def sketch(self, teacher: Model | None) -> Model | None:
        if teacher is not None:
            structure.check_trainable(teacher.network)
        known = {"vocab_size": MADE_UP, "pad_token_id": 0, "type_vocab_size": 1}
        return sketched({"model_type": self.model_type} | self.shape | known)

    @final
    def body(self, task: Task, model: Model, tokens: TeacherTokens) -> Any:
        """Return the encoder with random weights, for these tokens and rows that teacher and task allow."""
        known = {
            "vocab_size": len(tokens.numbers),
            "pad_token_id": tokens.tokenizer.pad_token_id,
            "max_position_embeddings": min(model.max_tokens, task.max_tokens),
            "type_vocab_size": 1,
        }
        config = AutoConfig.for_model(self.model_type, **self.shape | known)
        return in_parts(AutoModel.from_config(config, dtype=torch.float32, trust_remote_code=False))


def finish_student(network: Network, config: PretrainedConfig, task: Task, tokens: TeacherTokens) -> Model:
    """Return the model of a network, its configuration and its tokens."""
    spec = ModelSpec(plain_config(config), task.outputs, network.pooling.name, network.dropout.p)
    return Model(spec, network, tokens.tokenizer, learnt=tokens.learnt)


@dataclass(frozen=True)
class Principal:
    """A projection on the directions of largest variance: (vectors - mean) @ directions.

    Attributes:
        mean: subtracted first.
        directions: orthonormal columns, largest variance first.
    """

    mean: Float[Tensor, " size"]
    directions: Float[Tensor, "size kept"]

    def project(self, vectors: Float[Tensor, "tokens size"]) -> Float[Tensor, "tokens kept"]:
        """Return the projected vectors."""
        return (vectors - self.mean) @ self.directions


def principal_components(
    vectors: Float[Tensor, "tokens size"], share: Float[Tensor, " tokens"], kept: int
) -> Principal:
    """Return the projection to `kept` dimensions that loses the least variance, each vector weighted by its share.

    The largest entry of every direction is positive, so that other machines find the same signs.

    Raises:
        ConfigError: more dimensions than the vectors have.
    """
    check_interval("width of the student's token vectors", kept, f"[1, {vectors.shape[1]}]", "see student.hidden_size")
    weight = share.double()[:, None]
    mean = (weight * vectors.double()).sum(0)
    centred = vectors.double() - mean
    directions = torch.linalg.eigh(centred.T @ (weight * centred)).eigenvectors.flip(1)[:, :kept]
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    return Principal(mean.float(), (directions * largest.sign()).float())


def root_mean_square(vectors: Float[Tensor, "tokens kept"], share: Float[Tensor, " tokens"]) -> float:
    """Return the root mean square of all numbers of the vectors, each vector weighted by its share."""
    return float((share @ vectors.square()).mean().sqrt())


@torch.no_grad()
def single_token_states(teacher: Model, numbers: list[int], rows: int = 512) -> Float[Tensor, "tokens hidden"]:
    """Return the pooled hidden state of every token alone between the special tokens of a row.

    Where the head reads tokens (of a tagger, or with `label_attention`), it is the hidden state of the token itself.

    Source: Tulkens & van Dongen 2024, "Model2Vec", github.com/MinishLab/model2vec, without its principal components.

    Args:
        teacher: put into evaluation mode.
    """
    network, tokenizer = teacher.network.eval(), teacher.tokenizer
    structure.check_all_tokens(network.body)
    states = []
    for batch in torch.split(torch.tensor(numbers), rows):
        row = [tokenizer.cls_token_id, batch, tokenizer.sep_token_id]
        ids = torch.stack([torch.zeros_like(batch) + token for token in row if token is not None], 1)
        mask = torch.ones_like(ids)
        hidden = network.body(input_ids=ids, attention_mask=mask).last_hidden_state
        own = hidden[:, int(tokenizer.cls_token_id is not None)]
        states.append(own if network.pooling.by_token else network.pooling(hidden, mask))
    return torch.cat(states)


def project_head(teacher: Model, found: Principal) -> nn.Linear:
    """Return the teacher's head for projected states; removed dimensions count with their mean."""
    original = teacher.network.head
    head = nn.Linear(found.directions.shape[1], original.out_features)
    with torch.no_grad():
        head.weight.copy_(original.weight @ found.directions)
        head.bias.copy_(original.bias + original.weight @ found.mean)
    return head
