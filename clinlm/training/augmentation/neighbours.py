"""Nearest words by their vectors in a model."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedTokenizerBase

from clinlm.models import structure
from clinlm.models.model import Model, masked_mean
from clinlm.tasks.encoded import Encoded
from clinlm.text.tokens import uncut

_BLOCK = 512
"""Words read, or compared with all others, at once."""


def neighbours(
    words: Counter[str],
    may: Callable[[str], bool],
    number: int,
    vectors: Float[Tensor, "words size"],
) -> dict[str, tuple[str, ...]]:
    """Return the nearest other words of every word that may have any, the nearest first.

    Nearness is the cosine of vectors after subtracting the mean of all.

    Args:
        words: how often each occurs; a word that occurs once (perhaps a slip of the pen) is no neighbour.
        may: whether a word may be a neighbour, or have any.
        number: most neighbours a word.
        vectors: of the words, in their order.
    """
    listed = [*words]
    unit = functional.normalize(vectors - vectors.mean(0), dim=1)
    asking = [place for place, word in enumerate(listed) if may(word)]
    offered = [place for place in asking if words[listed[place]] > 1]
    if not offered:
        return {}
    there, number = unit[offered], min(number, len(offered))
    found: dict[str, tuple[str, ...]] = {}
    for start in range(0, len(asking), _BLOCK):
        some = asking[start : start + _BLOCK]
        near = (unit[some] @ there.T).topk(min(number + 1, len(offered)), dim=1).indices.tolist()
        for place, row in zip(some, near, strict=True):
            own = [listed[offered[other]] for other in row if offered[other] != place]
            found[listed[place]] = tuple(own[:number])
    return found


@torch.no_grad()
def mean_embeddings(
    words: Iterable[str], tokenizer: PreTrainedTokenizerBase, embeddings: nn.Embedding
) -> Float[Tensor, "words size"]:
    """Return for every word the mean of the embeddings of its pieces."""
    pieces = uncut(tokenizer).encode_batch([f" {word}" for word in words], add_special_tokens=False)
    ids = [torch.tensor(piece.ids or [tokenizer.unk_token_id]) for piece in pieces]
    starts = torch.tensor([0, *map(len, ids)]).cumsum(0)[:-1]
    table = embeddings.weight.detach().float()
    return functional.embedding_bag(torch.cat(ids), table, starts, mode="mean")


@torch.no_grad()
def word_states(words: Sequence[str], model: Model) -> Float[Tensor, "words hidden"]:
    """Return the pooled hidden state of every word, read alone between the special tokens of a row.

    As `clinlm.models.initializers.teacher_tokens.single_token_states`, of whole words; where the head reads tokens,
    the mean over theirs.

    Args:
        model: put into evaluation mode.
    """
    network = model.network.eval()
    structure.check_all_tokens(network.body)
    rows = [[encoding.ids[: model.max_tokens]] for encoding in uncut(model.tokenizer).encode_batch(list(words))]
    encoded = Encoded.of(rows, int(model.tokenizer.pad_token_id or 0))
    order = np.argsort(encoded.lengths(), kind="stable")
    states = []
    for start in range(0, len(order), _BLOCK):
        batch = encoded.collate(order[start : start + _BLOCK].tolist())
        ids, mask = batch["input_ids"], batch["attention_mask"]
        hidden = network.body(input_ids=ids, attention_mask=mask).last_hidden_state
        by_token = network.pooling.by_token
        states.append(masked_mean(hidden, mask.unsqueeze(-1).float()) if by_token else network.pooling(hidden, mask))
    return torch.cat(states)[torch.from_numpy(np.argsort(order))]


def count_words(notes: Sequence[Iterable[str]]) -> Counter[str]:
    """Return how often every word occurs."""
    return Counter(word for note in notes for word in note)
