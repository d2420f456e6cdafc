"""Laws of our own encoders: their arithmetic by torch's own layers, padding, edits, and that engines take them."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel

from clinlm.config.errors import ModelError
from clinlm.engines.base import find_engine
from clinlm.models import artifact, memory, structure
from clinlm.models.architectures.text_cnn import TextCnnModel, token_windows
from clinlm.models.initializers.base import plain_config
from clinlm.models.model import Edit, Model, ModelSpec, Network, PoolingName
from clinlm.models.surgery import keep_filters, keep_tokens

TOKENS = 30
SHAPES: dict[str, dict[str, Any]] = {
    "text_cnn": {
        "model_type": "clinlm_text_cnn",
        "vocab_size": TOKENS,
        "embedding_size": 5,
        "widths": [1, 2, 3, 4],
        "filters": [3, 4, 2, 5],
    },
    "text_cnn_opening": {
        "model_type": "clinlm_text_cnn",
        "vocab_size": TOKENS,
        "embedding_size": 5,
        "widths": [1, 3],
        "filters": [3, 4],
        "opening": 4,
    },
    "dilated_cnn": {
        "model_type": "clinlm_dilated_cnn",
        "vocab_size": TOKENS,
        "embedding_size": 5,
        "hidden_size": 6,
        "dilations": [1, 3],
    },
    "token_vectors": {"model_type": "clinlm_token_vectors", "vocab_size": TOKENS, "hidden_size": 7},
    "electra": {
        "model_type": "electra",
        "vocab_size": TOKENS,
        "embedding_size": 6,
        "hidden_size": 8,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "intermediate_size": 10,
        "max_position_embeddings": 64,
        "type_vocab_size": 1,
    },
}
POOLING: dict[str, PoolingName] = {
    "text_cnn": "max",
    "text_cnn_opening": "max",
    "dilated_cnn": "max",
    "token_vectors": "mean",
    "electra": "mean",
}
OURS = ("text_cnn", "text_cnn_opening", "dilated_cnn", "token_vectors")


def spec(name: str) -> ModelSpec:
    return ModelSpec(SHAPES[name], outputs=3, pooling=POOLING[name])


def network(name: str, seed: int = 0) -> Network:
    torch.manual_seed(seed)
    return spec(name).build().eval()


def rows(lengths: list[int], pad: int = 0, seed: int = 0) -> tuple[Tensor, Tensor]:
    ids = torch.randint(1, TOKENS, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(seed))
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    return torch.where(mask == 1, ids, torch.full_like(ids, pad)), mask


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("tokens", [1, 2, 9])
def test_a_linear_layer_over_windows_is_a_convolution(width: int, tokens: int) -> None:
    torch.manual_seed(0)
    vectors, linear = torch.randn(2, tokens, 5), nn.Linear(width * 5, 3)
    convolution = nn.Conv1d(5, 3, width)
    with torch.no_grad():
        convolution.weight.copy_(linear.weight.view(3, width, 5).transpose(1, 2))
        convolution.bias.copy_(linear.bias)  # type: ignore[union-attr]
        padded = functional.pad(vectors.transpose(1, 2), ((width - 1) // 2, width // 2))
        torch.testing.assert_close(linear(token_windows(vectors, width)), convolution(padded).transpose(1, 2))


def test_windows_by_hand() -> None:
    vectors = torch.tensor([[[1.0], [2.0], [3.0]]])
    assert token_windows(vectors, 2)[0].tolist() == [[1, 2], [2, 3], [3, 0]]
    assert token_windows(vectors, 3)[0].tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 0]]


def test_the_classifier_is_kims() -> None:
    """Convolution, ReLU, largest over the text, linear: with torch's own layers, text by text."""
    net = network("text_cnn")
    body: Any = net.body
    for length in (1, 4, 9):
        ids, mask = rows([length])
        seen = []
        for width, linear in zip(body.config.widths, body.filters, strict=True):
            vectors = functional.pad(body.embeddings(ids).transpose(1, 2), ((width - 1) // 2, width // 2))
            kernel = linear.weight.view(-1, width, 5).transpose(1, 2)
            seen.append(functional.conv1d(vectors, kernel, linear.bias).relu().amax(2))
        torch.testing.assert_close(net(ids, mask), net.head(torch.cat(seen, 1)))


def test_an_opening_is_pooled_by_itself() -> None:
    """As if its maps were those of a text that ends there, beside those of the whole."""
    net = network("text_cnn_opening")
    body: Any = net.body
    for length in (2, 4, 9):
        ids, mask = rows([length])
        maps = body(ids, mask).last_hidden_state[0, :, :7]
        pooled = torch.cat([maps.amax(0), maps[:4].amax(0)])
        torch.testing.assert_close(net(ids, mask)[0], net.head(pooled))


def test_a_linear_layer_over_dilated_windows_is_a_dilated_convolution() -> None:
    """With torch's own layers, one after another, each added to what it reads."""
    net = network("dilated_cnn")
    body: Any = net.body
    for length in (1, 4, 9):
        ids, mask = rows([length])
        hidden = body.entry(body.embeddings(ids))
        for dilation, linear, norm in zip((1, 3), body.convolutions, body.norms, strict=True):
            kernel = linear.weight.view(6, 3, 6).transpose(1, 2)
            padding = {"padding": dilation, "dilation": dilation}
            maps = functional.conv1d(hidden.transpose(1, 2), kernel, linear.bias, **padding).transpose(1, 2)
            hidden = norm(hidden + maps.relu())
        torch.testing.assert_close(body(ids, mask).last_hidden_state, hidden)


def test_token_vectors_are_a_weighted_mean() -> None:
    net = network("token_vectors")
    body: Any = net.body
    ids, mask = rows([6, 2])
    for row, length in enumerate((6, 2)):
        vectors = [body.weights.weight[token] * body.embeddings.weight[token] for token in ids[row, :length]]
        torch.testing.assert_close(net(ids, mask)[row], net.head(torch.stack(vectors).mean(0)))


@pytest.mark.parametrize("name", sorted(SHAPES))
@settings(max_examples=20)
@given(lengths=st.lists(st.integers(1, 12), min_size=2, max_size=4), pad=st.integers(0, TOKENS - 1))
def test_padding_changes_no_answer(name: str, lengths: list[int], pad: int) -> None:
    """Neither its number of tokens nor which token it is."""
    net = network(name)
    ids, mask = rows(lengths, pad)
    with torch.no_grad():
        together = net(ids, mask)
        for row, length in enumerate(lengths):
            torch.testing.assert_close(net(ids[row : row + 1, :length], mask[row : row + 1, :length])[0], together[row])


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_every_product_is_linear_and_every_table_an_embedding(name: str) -> None:
    """So that what replaces linear layers and embeddings reaches every matrix."""
    net = network(name)
    kinds = (nn.Linear, nn.Embedding)
    reached = {id(p) for module in net.modules() if isinstance(module, kinds) for p in module.parameters()}
    assert all(id(parameter) in reached for parameter in net.parameters() if parameter.ndim > 1)


@pytest.mark.parametrize("name", OURS)
def test_a_spec_from_its_configuration_builds_the_same(name: str) -> None:
    net = network(name)
    again = ModelSpec(plain_config(net.body.config), 3, POOLING[name]).build()  # type: ignore[arg-type]
    again.load_state_dict(net.state_dict(), strict=True)
    ids, mask = rows([7, 3])
    assert again.eval()(ids, mask).equal(net(ids, mask))


@pytest.mark.parametrize("name", OURS)
def test_rows_may_be_long(name: str, tiny_model: Model) -> None:
    model = Model(spec(name), network(name), tiny_model.tokenizer)
    assert model.max_tokens > 100_000
    assert model.network(*rows([2000])).isfinite().all()


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_an_edited_network_is_saved_and_loaded_to_the_bit(name: str, tiny_model: Model, tmp_path: Path) -> None:
    model = Model(spec(name), network(name), tiny_model.tokenizer)
    model.apply(Edit("clinlm.models.surgery.keep_tokens", {"tokens": [0, *range(3, 21)]}))
    if name == "text_cnn":
        model.apply(Edit("clinlm.models.surgery.keep_filters", {"filters": {"1": [0, 2], "3": [4]}}))
    artifact.save(model, tmp_path)
    loaded = artifact.load(tmp_path)
    ids, mask = rows([9, 4])
    ids = ids % 19
    assert loaded.network(ids, mask).equal(model.network(ids, mask))
    assert loaded.network.body.config.vocab_size == 19  # type: ignore[union-attr]
    memory.run_random_row(loaded.network, 5)


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_an_engine_answers_for_every_number_of_tokens(name: str, tiny_model: Model, tmp_path: Path) -> None:
    engine = find_engine("onnxruntime")
    if engine.missing():
        pytest.skip(f"no {engine.missing()}")
    net = network(name)
    engine.export(Model(spec(name), net, tiny_model.tokenizer), tmp_path)
    answer = engine.open(tmp_path, threads=1)
    with torch.no_grad():
        for length in (1, 2, 3, 5, 17, 60):
            ids, mask = rows([length, max(1, length // 2), 1], seed=length)
            for part in (slice(None), slice(1)):
                found = answer(ids[part].numpy(), mask[part].numpy())
                np.testing.assert_allclose(found, net(ids[part], mask[part]).numpy(), atol=1e-4)


@pytest.mark.parametrize("name", OURS)
def test_what_cuts_layers_says_that_there_are_none(name: str) -> None:
    with pytest.raises(ModelError, match=r"needs encoder layers that can be cut, got .* \(its parts are not known\)"):
        structure.layers(network(name).body)


def test_what_cuts_filters_says_that_there_are_none() -> None:
    with pytest.raises(ModelError, match="needs a convolutional network, got ElectraModel; set model@student=text_cnn"):
        keep_filters(network("electra"), {"0": [0]})


@pytest.mark.parametrize("opening", [None, 2])
@pytest.mark.parametrize("pooling", ["max", "max_mean", "attention", "label_attention"])
def test_filters_that_go_are_those_that_no_one_hears(pooling: PoolingName, opening: int | None) -> None:
    """A network in which the others are silent says the same."""
    torch.manual_seed(0)
    whole = ModelSpec(SHAPES["text_cnn"] | {"opening": opening}, 3, pooling).build().eval()
    kept = {"0": [1], "2": [0, 1], "3": [0, 2, 4]}
    cut = copy.deepcopy(whole)
    keep_filters(cut, kept)
    starts = {"0": 0, "2": 7, "3": 9}
    gone = [starts[g] + f for g, n in (("0", 3), ("2", 2), ("3", 5)) for f in range(n) if f not in kept[g]]
    if opening:
        gone += [14 + one for one in gone]
    if pooling == "max_mean":
        gone += [whole.head.in_features // 2 + one for one in gone]
    readers = [whole.head] + ([whole.pooling.score] if whole.pooling.score is not None else [])
    with torch.no_grad():
        for reader in readers:
            reader.weight[:, gone] = 0
        ids, mask = rows([9, 4, 1])
        torch.testing.assert_close(cut(ids, mask), whole(ids, mask))
    width = 20 if opening else 10
    parts = 2 if pooling == "max_mean" else 1
    assert cut.body.config.filters == [1, 4, 2, 3] and cut.body.config.hidden_size == width  # type: ignore[union-attr]
    assert cut.head.in_features == parts * width and isinstance(whole.body, TextCnnModel)


@pytest.mark.parametrize(
    ("filters", "told"),
    [
        ({"4": [0]}, "group of filters .*, got 4"),
        ({"0": []}, "at least one filter"),
        ({"0": [3]}, "filter .* 0 to 2, got 3"),
    ],
)
def test_filters_that_are_not_there_are_refused(filters: dict[str, list[int]], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        keep_filters(network("text_cnn"), filters)


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_tokens_that_stay_say_what_they_said(name: str) -> None:
    net = network(name)
    before = copy.deepcopy(net)
    tokens = [0, 4, 5, 11, 29]
    keep_tokens(net, tokens)
    ids = torch.tensor([[1, 4, 2, 3], [3, 2, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    assert net(ids, mask).equal(before(torch.tensor(tokens)[ids], mask))
    assert net.body.config.vocab_size == 5 and net.body.config.pad_token_id == 0  # type: ignore[union-attr]


def test_the_padding_token_stays_and_keeps_its_number_where_positions_begin_with_it() -> None:
    small = {"vocab_size": 20, "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "pad_token_id": 1}
    body = AutoModel.from_config(AutoConfig.for_model("roberta", **small), dtype=torch.float32)
    net = nn.Module()
    net.body, net.wide = body, None
    with pytest.raises(ValueError, match="counts positions from the padding token, which must keep its id 1, got 0"):
        keep_tokens(net, [1, 2, 5])
    with pytest.raises(ValueError, match="must include the padding token 1"):
        keep_tokens(net, [0, 2, 5])
    keep_tokens(net, [0, 1, 5])
    assert body.get_input_embeddings().padding_idx == 1
