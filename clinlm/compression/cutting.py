"""From widths to a network that has them: which parts stay, what cuts the others, factors of the embeddings."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from clinlm.compression.costs import Architecture
from clinlm.compression.importance import Importance
from clinlm.compression.search import dimensions, top
from clinlm.models import structure
from clinlm.models.layers.low_rank_embedding import directions
from clinlm.models.model import Edit, Model


@dataclass(frozen=True)
class Stay:
    """What stays of a network, everything numbered as it was.

    Attributes:
        layers: ascending.
        heads, units: of every layer that stays.
        hidden: dimensions of the hidden state.
        rank: that the embeddings get; None where they are left as they are.
    """

    layers: list[int]
    heads: dict[int, list[int]]
    units: dict[int, list[int]]
    hidden: list[int]
    rank: int | None


def stay(importance: Importance, now: Architecture, architecture: Architecture) -> Stay:
    """Return the most important parts, as many as an architecture has."""
    widths = {number: layer for number, layer in enumerate(architecture.layers) if layer is not None}
    return Stay(
        list(widths),
        {number: top(importance.heads[number], heads) for number, (heads, _) in widths.items()},
        {number: top(importance.units[number], units) for number, (_, units) in widths.items()},
        dimensions(importance, architecture.hidden),
        None if architecture.rank == now.rank else architecture.rank,
    )


def edits(stays: Stay, now: Architecture) -> list[Edit]:
    """Return what cuts everything else, in order; nothing where all of a kind stay."""
    found = []
    whole = [layer or (0, 0) for layer in now.layers]
    heads = {str(n): kept for n, kept in stays.heads.items() if len(kept) < whole[n][0]}
    units = {str(n): kept for n, kept in stays.units.items() if len(kept) < whole[n][1]}
    if heads:
        found.append(Edit("clinlm.models.surgery.keep_heads", {"heads": heads}))
    if units:
        found.append(Edit("clinlm.models.surgery.keep_ffn_units", {"units": units}))
    if len(stays.layers) < len(now.layers):
        found.append(Edit("clinlm.models.surgery.keep_layers", {"numbers": stays.layers}))
    if len(stays.hidden) < now.hidden:
        found.append(Edit("clinlm.models.surgery.keep_hidden", {"dimensions": stays.hidden}))
    return found


def cut(model: Model, stays: Stay, often: Float[Tensor, " tokens"]) -> None:
    """Factorise the embeddings, where they are to be, and cut everything off that does not stay.

    Args:
        model: changed in place.
        stays: what is left.
        often: see `factorise`.
    """
    if stays.rank is not None:
        factorise(model, stays.rank, often)
    narrow(model, stays)


@torch.no_grad()
def factorise(model: Model, rank: int, often: Float[Tensor, " tokens"]) -> None:
    """Replace the word embeddings by the nearest product of a rank.

    Args:
        model: changed in place.
        rank: of the product.
        often: how much the error of every token's row counts.
    """
    body = model.network.body
    factors = structure.low_rank_embedding(body)
    table = structure.word_embeddings(body).weight.detach() if factors is None else factors.dense()
    model.apply(Edit("clinlm.models.surgery.factorize_embeddings", {"rank": rank}))
    made = structure.low_rank_embedding(body)
    assert made is not None
    basis = directions(table, often)[0][:, :rank]
    made.table.weight.copy_(table @ basis)
    made.up.weight.copy_(basis)


def narrow(model: Model, stays: Stay) -> None:
    """Cut heads, units, layers and hidden dimensions off that do not stay."""
    for edit in edits(stays, Architecture.read(model.network)):
        model.apply(edit)
