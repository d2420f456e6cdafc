"""Laws of factorised word embeddings: the nearest product, the same network at full rank, and what else is cut."""

import copy
from typing import Any

import pytest
import torch
from support.families import HIDDEN, LAYERS, PARAMETERS, VOCABULARY, config, network, rows, spec
from torch import Tensor, nn
from torch.nn.utils import parametrize

from clinlm.config.errors import ModelError
from clinlm.models import structure
from clinlm.models.layers.int8_embedding import Int8Embedding
from clinlm.models.layers.low_rank_embedding import LowRankEmbedding, principal_directions
from clinlm.models.model import Edit, Network, rebuild
from clinlm.models.surgery import factorize_embeddings, keep_hidden, keep_tokens

families = pytest.mark.parametrize("family", PARAMETERS)


def factorised(family: str, rank: int) -> tuple[Network, Tensor]:
    """A network with embeddings of this rank, and the table that they stand for."""
    model = network(family)
    table = structure.word_embeddings(model.body).weight.detach().clone()
    basis = principal_directions(table, torch.ones(len(table)))[0][:, :rank]
    factorize_embeddings(model, rank)
    factors = structure.low_rank_embedding(model.body)
    assert factors is not None and factors.table.weight.isnan().all() and not factors.training
    with torch.no_grad():
        factors.table.weight.copy_(table @ basis)
        factors.up.weight.copy_(basis)
    return model, table


def logits(model: Network, family: str) -> Tensor:
    with torch.no_grad():
        out: Tensor = model(*rows(family))
    return out


def test_the_product_is_the_nearest_where_errors_of_a_row_count_as_often_as_it_occurs() -> None:
    generator = torch.Generator().manual_seed(0)
    table, often = torch.randn(9, 5, generator=generator), torch.tensor([1.0, 30, 2, 1, 1, 9, 1, 1, 4])
    basis, variance = principal_directions(table, often)
    torch.testing.assert_close(basis.T @ basis, torch.eye(5))
    weighed = table * often.sqrt()[:, None]
    values = torch.linalg.svdvals(weighed)
    torch.testing.assert_close(variance, values.square())
    for rank in range(1, 5):
        kept = basis[:, :rank]
        error = ((table - table @ kept @ kept.T).square().sum(1) * often).sum()
        torch.testing.assert_close(error, values[rank:].square().sum(), rtol=1e-4, atol=1e-4)


@families
def test_at_full_rank_nothing_changes(family: str) -> None:
    width = structure.word_embeddings(network(family).body).embedding_dim
    model, table = factorised(family, width)
    factors = structure.low_rank_embedding(model.body)
    assert factors is not None and factors.rank == width and factors.embedding_dim == width
    torch.testing.assert_close(factors.dense(), table, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits(model, family), logits(network(family), family), rtol=1e-3, atol=1e-4)


@families
def test_other_edits_cut_the_factors(family: str) -> None:
    model, _ = factorised(family, 4)
    plain = copy.deepcopy(model)
    factors = structure.low_rank_embedding(plain.body)
    assert factors is not None
    dense = nn.Embedding(VOCABULARY, factors.embedding_dim, factors.padding_idx)
    with torch.no_grad():
        dense.weight.copy_(factors.dense())
    plain.body.set_input_embeddings(dense)  # type: ignore[operator]
    tokens = [n for n in range(VOCABULARY) if n < 5 or n % 3]
    for one in (model, plain):
        keep_hidden(one, [0, 2, 3, 7, 8, 9, 15])
        keep_tokens(one, tokens)
    cut = structure.low_rank_embedding(model.body)
    assert cut is not None and cut.num_embeddings == len(tokens) == config(model).vocab_size and cut.rank == 4
    ids, mask = rows(family)
    ids = torch.where(ids < 5, ids, torch.full_like(ids, 4))
    with torch.no_grad():
        torch.testing.assert_close(model(ids, mask), plain(ids, mask), rtol=1e-3, atol=1e-4)


@families
def test_an_artifact_of_it_is_replayed(family: str) -> None:
    model, _ = factorised(family, 5)
    factorize_embeddings(model, 3)
    replayed = rebuild(
        spec(family),
        [Edit("clinlm.models.surgery.factorize_embeddings", {"rank": rank}) for rank in (5, 3)],
    ).eval()
    found = structure.low_rank_embedding(replayed.body)
    assert found is not None and found.rank == 3
    assert {n: t.shape for n, t in replayed.state_dict().items()} == {n: t.shape for n, t in model.state_dict().items()}


def test_writers_know_the_factors() -> None:
    model, _ = factorised("bert", 4)
    writers = structure.writers(model.body)
    assert len(writers) == 3 + 2 * LAYERS and all(len(writer) == HIDDEN for writer in writers)
    projected, _ = factorised("electra_projected", 4)
    assert len(structure.writers(projected.body)) == 1 + 2 * LAYERS


@pytest.mark.parametrize("rank", [0, 17, 41])
def test_a_rank_that_a_table_cannot_have(rank: int) -> None:
    with pytest.raises(ValueError, match=rf"rank of a 40 x 16 table must be in \[1, 16\], got {rank}"):
        LowRankEmbedding(40, 16, rank)


def test_what_is_no_table_of_floats_is_not_factorised() -> None:
    model = network("bert")
    Int8Embedding.edit(["body.embeddings.word_embeddings"])(model)
    with pytest.raises(ModelError, match="must be a float table, got Int8Embedding"):
        factorize_embeddings(model, 2)


def test_what_is_masked_is_not_factorised() -> None:
    class Same(nn.Module):
        def forward(self, weight: Any) -> Any:
            return weight * 1

    model = network("bert")
    parametrize.register_parametrization(structure.word_embeddings(model.body), "weight", Same())
    with pytest.raises(ModelError, match="cannot be sliced or replaced"):
        factorize_embeddings(model, 2)
