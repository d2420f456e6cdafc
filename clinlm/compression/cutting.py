"""From widths to a network that has them: which parts stay, what cuts the others, factors of the embeddings."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from clinlm.compression.costs import Architecture
from clinlm.compression.importance import Importance
from clinlm.compression.search import top_dimensions, top_indices
from clinlm.models import structure
from clinlm.models.layers.low_rank_embedding import principal_directions
from clinlm.models.model import Edit, Model


@dataclass(frozen=True)
class KeptParts:
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


def select_parts(importance: Importance, now: Architecture, architecture: Architecture) -> KeptParts:
    """Return the most important parts, as many as an architecture has."""
    widths = {number: layer for number, layer in enumerate(architecture.layers) if layer is not None}
    return KeptParts(
        list(widths),
        {number: top_indices(importance.heads[number], heads) for number, (heads, _) in widths.items()},
        {number: top_indices(importance.units[number], units) for number, (_, units) in widths.items()},
        top_dimensions(importance, architecture.hidden),
        None if architecture.rank == now.rank else architecture.rank,
    )


def slicing_edits(stays: KeptParts, now: Architecture) -> list[Edit]:
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


def prune_to(model: Model, stays: KeptParts, often: Float[Tensor, " tokens"]) -> None:
    """Factorise the embeddings, where they are to be, and cut everything off that does not stay.

    Args:
        model: changed in place.
        stays: what is left.
        often: see `factorise`.
    """
    if stays.rank is not None:
        factorize_embeddings(model, stays.rank, often)
    slice_to(model, stays)


@torch.no_grad()
def factorize_embeddings(model: Model, rank: int, often: Float[Tensor, " tokens"]) -> None:
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
    basis = principal_directions(table, often)[0][:, :rank]
    made.table.weight.copy_(table @ basis)
    made.up.weight.copy_(basis)


def slice_to(model: Model, stays: KeptParts) -> None:
    """Cut heads, units, layers and hidden dimensions off that do not stay."""
    for edit in slicing_edits(stays, Architecture.read(model.network)):
        model.apply(edit)
