"""From widths to a pruned network: parts to keep, edits that remove the others, factors of the embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from clinlm.compression.costs import Architecture
from clinlm.compression.importance import Importance
from clinlm.compression.search import top_dimensions
from clinlm.compression.selection import top_indices
from clinlm.models import structure
from clinlm.models.layers.low_rank_embedding import principal_directions
from clinlm.models.model import Edit, Model
from clinlm.training.promises import LayerShape


@dataclass(frozen=True)
class KeptParts:
    """Parts of a network to keep, by their original numbers.

    Attributes:
        heads, units: of every kept layer.
        rank: new rank of the embeddings; None to leave them unchanged.
    """

    layers: list[int]
    heads: dict[int, list[int]]
    units: dict[int, list[int]]
    hidden: list[int]
    rank: int | None


def select_parts(importance: Importance, now: Architecture, architecture: Architecture) -> KeptParts:
    """Return the most important parts, as many as the architecture has."""
    widths = {number: layer for number, layer in enumerate(architecture.layers) if layer is not None}
    return KeptParts(
        list(widths),
        {number: top_indices(importance.heads[number], heads) for number, (heads, _) in widths.items()},
        {number: top_indices(importance.units[number], units) for number, (_, units) in widths.items()},
        top_dimensions(importance, architecture.hidden),
        None if architecture.rank == now.rank else architecture.rank,
    )


def slicing_edits(kept: KeptParts, now: Architecture) -> list[Edit]:
    """Return the edits that remove all other parts, in order; none for kinds of parts that are all kept."""
    found = []
    whole = [layer or (0, 0) for layer in now.layers]
    heads = {str(n): parts for n, parts in kept.heads.items() if len(parts) < whole[n][0]}
    units = {str(n): parts for n, parts in kept.units.items() if len(parts) < whole[n][1]}
    if heads:
        found.append(Edit("clinlm.models.surgery.keep_heads", {"heads": heads}))
    if units:
        found.append(Edit("clinlm.models.surgery.keep_ffn_units", {"units": units}))
    if len(kept.layers) < len(now.layers):
        found.append(Edit("clinlm.models.surgery.keep_layers", {"numbers": kept.layers}))
    if len(kept.hidden) < now.hidden:
        found.append(Edit("clinlm.models.surgery.keep_hidden", {"dimensions": kept.hidden}))
    return found


def prune_to(model: Model, kept: KeptParts, often: Float[Tensor, " tokens"]) -> None:
    """Factorise the embeddings, if they get a rank, and remove all parts that are not kept.

    Args:
        model: changed in place.
        often: see `factorize_embeddings`.
    """
    if kept.rank is not None:
        factorize_words(model, kept.rank, often)
    slice_to(model, kept)


@torch.no_grad()
def factorize_words(model: Model, rank: int, often: Float[Tensor, " tokens"]) -> None:
    """Replace the word embeddings by the nearest product of a rank.

    Args:
        model: changed in place.
        often: weight of the squared error of every token's row.
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


def slice_to(model: Model, kept: KeptParts) -> None:
    """Remove the heads, units, layers and hidden dimensions that are not kept."""
    for edit in slicing_edits(kept, Architecture.read(model.network)):
        model.apply(edit)


def layer_shapes(
    now: Architecture, kept: KeptParts, heads: Sequence[Float[Tensor, " _"]], units: Sequence[Float[Tensor, " _"]]
) -> list[LayerShape]:
    """Return the widths of every layer before and after a cut.

    Args:
        now: before the cut.
        heads, units: importance of every head and of every FFN unit; one vector per layer.
    """
    return [
        LayerShape(
            layer=number,
            heads_before=layer[0],
            heads_after=len(kept.heads.get(number, [])),
            units_before=layer[1],
            units_after=len(kept.units.get(number, [])),
            importance_of_heads=float(heads[number].sum()),
            importance_of_units=float(units[number].sum()),
        )
        for number, layer in enumerate(now.layers)
        if layer is not None
    ]
