"""What students of another architecture take from their teacher: tokens, and what it makes of every token alone."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from clinlm.models import structure, token_pruning
from clinlm.models.model import Model
from clinlm.tasks.base import Task


@dataclass(frozen=True)
class TeacherTokens:
    """The tokens that a student has.

    Attributes:
        tokenizer: the teacher's, with these tokens only, or itself.
        numbers: what the teacher calls them, ascending.
        share: of the tokens of the training texts; every token as if it occurred once more than it does. Sums to 1.
    """

    tokenizer: PreTrainedTokenizerBase
    numbers: list[int]
    share: Float[Tensor, " tokens"]


def teacher_tokens(task: Task, teacher: Model | None, min_count: int | None) -> tuple[Model, TeacherTokens]:
    """Return the teacher, which is there, and its tokens that the training texts need, or all of them.

    Args:
        task: opened; its training texts are counted.
        teacher: of the stage.
        min_count: see `clinlm.models.token_pruning.tokens_to_keep`; None for all tokens.

    Raises:
        ValueError: no teacher, or one with integer weights.
    """
    if teacher is None:
        raise ValueError("a student begins with its teacher's tokens; this stage has no teacher; set its `teachers`")
    structure.check_trainable(teacher.network)
    counts = token_pruning.count_tokens(teacher.tokenizer, task.texts("train"))
    numbers, tokenizer = list(range(len(counts))), teacher.tokenizer
    if min_count is not None:
        numbers = token_pruning.tokens_to_keep(teacher.tokenizer, counts, min_count)
        tokenizer = token_pruning.trim_tokenizer(teacher.tokenizer, numbers)
    often = torch.from_numpy(counts[numbers]).double() + 1
    return teacher, TeacherTokens(tokenizer, numbers, (often / often.sum()).float())


@dataclass(frozen=True)
class Principal:
    """The directions in which vectors vary most, as a projection: (vectors - mean) @ directions.

    Attributes:
        mean: what is taken off.
        directions: orthonormal columns, largest variance first.
    """

    mean: Float[Tensor, " size"]
    directions: Float[Tensor, "size kept"]

    def project(self, vectors: Float[Tensor, "tokens size"]) -> Float[Tensor, "tokens kept"]:
        """Return the vectors in fewer dimensions."""
        return (vectors - self.mean) @ self.directions


def principal_components(
    vectors: Float[Tensor, "tokens size"], share: Float[Tensor, " tokens"], kept: int
) -> Principal:
    """Return the projection to `kept` dimensions that loses least of the vectors' variance, each counted by its share.

    Every direction points to where its largest number is positive, so that other machines find the same.

    Raises:
        ValueError: more dimensions than there are.
    """
    if not 1 <= kept <= vectors.shape[1]:
        raise ValueError(f"vectors keep 1 to {vectors.shape[1]} dimensions, those of the teacher's; got {kept}")
    weight = share.double()[:, None]
    mean = (weight * vectors.double()).sum(0)
    centred = vectors.double() - mean
    directions = torch.linalg.eigh(centred.T @ (weight * centred)).eigenvectors.flip(1)[:, :kept]
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    return Principal(mean.float(), (directions * largest.sign()).float())


def root_mean_square(vectors: Float[Tensor, "tokens kept"], share: Float[Tensor, " tokens"]) -> float:
    """Return the root mean square of the numbers in projected vectors, each vector counted by its share."""
    return float((share @ vectors.square()).mean().sqrt())


@torch.no_grad()
def single_token_states(teacher: Model, numbers: list[int], rows: int = 512) -> Float[Tensor, "tokens hidden"]:
    """Return the pooled hidden state of every token alone, between the special tokens that frame a row.

    Of a tagger, which pools nothing, it is the hidden state of the token itself.

    Source: Tulkens & van Dongen 2024, "Model2Vec", github.com/MinishLab/model2vec, without its principal components.

    Args:
        teacher: put into evaluation mode.
        numbers: its tokens.
        rows: read at a time.
    """
    network, tokenizer = teacher.network.eval(), teacher.tokenizer
    states = []
    for some in torch.split(torch.tensor(numbers), rows):
        row = [tokenizer.cls_token_id, some, tokenizer.sep_token_id]
        ids = torch.stack([torch.zeros_like(some) + one for one in row if one is not None], 1)
        mask = torch.ones_like(ids)
        hidden = network.body(input_ids=ids, attention_mask=mask).last_hidden_state
        alone = network.pooling.name == "none"
        states.append(hidden[:, int(tokenizer.cls_token_id is not None)] if alone else network.pooling(hidden, mask))
    return torch.cat(states)


def project_head(teacher: Model, found: Principal) -> nn.Linear:
    """Return the teacher's head for projected states: of the dimensions that are gone it reads the mean."""
    theirs = teacher.network.head
    head = nn.Linear(found.directions.shape[1], theirs.out_features)
    with torch.no_grad():
        head.weight.copy_(theirs.weight @ found.directions)
        head.bias.copy_(theirs.bias + theirs.weight @ found.mean)
    return head
