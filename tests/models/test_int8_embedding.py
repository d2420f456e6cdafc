"""Laws of INT8 tables, and of networks of every family with every kind of quantised layer in them."""

import copy
from pathlib import Path

import pytest
import torch
from support.families import PARAMETERS, network, rows, spec
from torch import nn

from clinlm.compression.sensitivity import quantizable_layers
from clinlm.config.errors import ModelError
from clinlm.models import artifact, structure
from clinlm.models.layers.base import IntegerLayer
from clinlm.models.layers.int4_linear import Int4Linear
from clinlm.models.layers.int8_embedding import Int8Embedding
from clinlm.models.layers.int8_linear import Int8Linear
from clinlm.models.layers.rounding import input_levels
from clinlm.models.layers.static_int8_linear import StaticInt8Linear
from clinlm.models.model import Edit, Model
from clinlm.models.size import count_nonzero, count_parameters


def table(seed: int = 0) -> nn.Embedding:
    torch.manual_seed(seed)
    return nn.Embedding(30, 7, padding_idx=1)


def test_rows_are_looked_up_and_scaled_back() -> None:
    whole = table()
    layer, numbers = Int8Embedding.from_float(whole), torch.tensor([[0, 29, 1], [5, 5, 17]])
    assert layer(numbers).equal(layer.dequantized()[numbers]) and layer(numbers).dtype == torch.float32
    assert ((layer.dequantized() - whole.weight).abs() <= layer.scale[:, None] * 0.5001).all()
    assert layer.weight.abs().amax(1).tolist() == [127 if row != 1 else 0 for row in range(30)]
    assert (layer(torch.tensor(1)) == 0).all(), "the row of padding is zeros"
    assert (layer.num_embeddings, layer.embedding_dim, layer.padding_idx) == (30, 7, 1)
    assert count_parameters(layer) == count_parameters(whole) and count_nonzero(layer) <= count_nonzero(whole)


def test_loading_a_saved_table_answers_to_the_bit() -> None:
    layer, other = Int8Embedding.from_float(table()), Int8Embedding(30, 7, 1)
    other.load_state_dict(layer.state_dict(), strict=True)
    numbers = torch.arange(30)
    assert other(numbers).equal(layer(numbers)) and copy.deepcopy(layer)(numbers).equal(layer(numbers))


def edits(kind: type[IntegerLayer], names: list[str]) -> Edit:
    if kind is StaticInt8Linear:
        return kind.edit(names, smoothed=True)
    return kind.edit(names, group_size=5) if kind is Int4Linear else kind.edit(names)


@pytest.mark.parametrize("family", PARAMETERS)
@pytest.mark.parametrize("kind", [Int8Linear, StaticInt8Linear, Int4Linear])
def test_a_saved_network_answers_to_the_bit(
    tmp_path: Path, tiny_model: Model, family: str, kind: type[IntegerLayer]
) -> None:
    model = Model(spec(family, "attention"), network(family, "attention"), tiny_model.tokenizer)
    with torch.no_grad():
        before = model.network(*rows(family))
    layers = quantizable_layers(model.network, ())
    names = [name for name, module in layers.items() if isinstance(module, nn.Linear)]
    tables = [name for name, module in layers.items() if isinstance(module, nn.Embedding)]
    kept = {name for name, module in model.network.named_modules() if isinstance(module, nn.Embedding)} - {*tables}
    assert kept == ({"body.encoder.rel_embeddings"} if family.startswith("deberta") else set())
    weights = {name: model.network.get_submodule(name) for name in names}
    model.apply(edits(kind, names))
    model.apply(Int8Embedding.edit(tables))
    if kind is StaticInt8Linear:
        scale, point = input_levels(torch.tensor(-9.0), torch.tensor(9.0))
        for name in names:
            layer = model.network.get_submodule(name)
            smooth = torch.ones(layer.in_features)  # type: ignore[arg-type]
            layer.load_state_dict(StaticInt8Linear.calibrated(weights[name], scale, point, smooth).state_dict())  # type: ignore[arg-type]
    artifact.save(model, tmp_path)
    loaded = artifact.load(tmp_path)
    with torch.no_grad():
        answer = model.network(*rows(family))
        assert loaded.network(*rows(family)).equal(answer)
        assert copy.deepcopy(loaded.network)(*rows(family)).equal(answer)
    assert not answer.equal(before)
    # 4 bits of random matrices of relative positions point the attention of deberta_v2 elsewhere.
    if not (kind is Int4Linear and family == "deberta_v2"):
        assert torch.nn.functional.cosine_similarity(answer, before, dim=1).min() > 0.9
    left = {name for name, one in loaded.network.named_modules() if isinstance(one, nn.Linear | nn.Embedding)}
    assert left == kept and len(tables) >= (1 if family in ("modernbert", "deberta_v3") else 2)
    assert count_parameters(loaded.network) == count_parameters(network(family, "attention"))
    with pytest.raises(ModelError, match="weights must be floats to train, prune or factorise"):
        structure.check_trainable(loaded.network)


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        (Int8Embedding, "head", "layer 'head' must be of class Embedding, got Linear"),
        (StaticInt8Linear, "body.nothing", "layer 'body.nothing' must be of class Linear, got no such layer"),
        (Int4Linear, "body", "layer 'body' must be of class Linear, got BertModel"),
    ],
)
def test_wrong_names_are_refused(kind: type[IntegerLayer], name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        edits(kind, [name])(network("bert"))
