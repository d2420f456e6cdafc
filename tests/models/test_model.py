"""Laws of the network: pooling is a loop over rows, padding is never seen, and plain data rebuilds it."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.families import CONFIGS, PARAMETERS, VOCABULARY, network, rows, spec
from torch import Tensor, nn

from clinlm.config.errors import ModelError
from clinlm.models.artifact import foreign_packages, save_network
from clinlm.models.model import Edit, Model, ModelSpec, Pooling, PoolingName, rebuild

POOLINGS: tuple[PoolingName, ...] = tuple(one for one in get_args(PoolingName) if one != "none")
TO_VECTORS = tuple(one for one in POOLINGS if not Pooling(one, 1).by_token)
families = pytest.mark.parametrize("family", PARAMETERS)


def by_hand(pooling: Pooling, tokens: Tensor) -> Tensor:
    """Pool one row that has no padding."""
    if pooling.name == "cls":
        return tokens[0]
    average = torch.stack([*tokens]).mean(0)
    largest = torch.stack([torch.stack([token[d] for token in tokens]).max() for d in range(tokens.shape[1])])
    whole = {"mean": average, "max": largest, "max_mean": torch.cat([largest, average])}
    if pooling.name in whole:
        return whole[pooling.name]
    assert pooling.score is not None
    scores = torch.stack([token @ pooling.score.weight[0] + pooling.score.bias[0] for token in tokens]).exp()
    return (scores[:, None] / scores.sum() * tokens).sum(0)


@settings(max_examples=40)
@given(st.sampled_from(TO_VECTORS), st.lists(st.integers(1, 7), min_size=1, max_size=4), st.integers(0, 9))
def test_pooling_is_a_loop_over_rows(name: PoolingName, lengths: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    pooling = Pooling(name, 5).double()
    hidden = torch.randn(len(lengths), max(lengths) + 2, 5, dtype=torch.double)
    mask = (torch.arange(hidden.shape[1]) < torch.tensor(lengths)[:, None]).long()
    pooled = pooling(hidden, mask)
    for row, length in enumerate(lengths):
        assert torch.allclose(pooled[row], by_hand(pooling, hidden[row, :length]))


@pytest.mark.parametrize("name", TO_VECTORS)
def test_gradients_reach_tokens_and_no_padding(name: PoolingName) -> None:
    pooling = Pooling(name, 4).double()
    hidden = torch.randn(2, 5, 4, dtype=torch.double, requires_grad=True)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    assert torch.autograd.gradcheck(lambda states: pooling(states, mask), (hidden,))
    (gradient,) = torch.autograd.grad(pooling(hidden, mask).sum(), hidden)
    assert gradient[0, 3:].abs().max() == 0
    assert gradient[0, :3].abs().max() > 0


def test_an_unknown_pooling_is_refused() -> None:
    names = "cls, mean, max, max_mean, attention, label_attention, none"
    with pytest.raises(ValueError, match=f"pooling must be one of {names}, got 'sum'"):
        Pooling("sum", 4)  # type: ignore[arg-type]


def test_every_label_is_answered_from_its_own_mean_of_the_tokens() -> None:
    """As published: a vector per row and label, then the label's row of the head."""
    model = network("bert", "label_attention")
    ids, mask = rows("bert")
    with torch.no_grad():
        hidden = model.body(input_ids=ids, attention_mask=mask).last_hidden_state
        found = model(ids, mask)
    assert model.pooling.score is not None
    for row, own in enumerate(mask.bool()):
        tokens = hidden[row, own]
        for label in range(found.shape[1]):
            weights = (tokens @ model.pooling.score.weight[label]).exp()
            vector = (weights[:, None] / weights.sum() * tokens).sum(0)
            logit = vector @ model.head.weight[label] + model.head.bias[label]
            torch.testing.assert_close(found[row, label], logit, rtol=1e-4, atol=1e-5)


def test_attention_of_labels_begins_as_the_mean() -> None:
    begun, mean = (ModelSpec(CONFIGS["bert"], 3, name).build().eval() for name in ("label_attention", "mean"))
    begun.load_state_dict(mean.state_dict(), strict=False)
    with torch.no_grad():
        torch.testing.assert_close(begun(*rows("bert")), mean(*rows("bert")))


@families
@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_and_neighbours_change_no_logit(family: str, pooling: PoolingName) -> None:
    model = network(family, pooling)
    ids, mask = rows(family)
    pad = CONFIGS[family].get("pad_token_id", 0)
    wider = torch.full((3, 4), pad)
    with torch.no_grad():
        together = model(ids, mask)
        padded = model(torch.cat([ids, wider], 1), torch.cat([mask, torch.zeros_like(wider)], 1))
        alone = torch.cat([model(row[m == 1][None], m[m == 1][None]) for row, m in zip(ids, mask, strict=True)])
    assert torch.allclose(together, alone, rtol=1e-4, atol=1e-5)
    assert torch.allclose(together, padded, rtol=1e-4, atol=1e-5)


@families
def test_without_pooling_every_token_has_logits_of_its_own(family: str) -> None:
    model = network(family, "none")
    ids, mask = rows(family)
    wider = torch.full((3, 4), CONFIGS[family].get("pad_token_id", 0))
    with torch.no_grad():
        together = model(ids, mask)
        padded = model(torch.cat([ids, wider], 1), torch.cat([mask, torch.zeros_like(wider)], 1))
        hidden = model.body(input_ids=ids, attention_mask=mask).last_hidden_state
    assert together.shape[:2] == ids.shape and torch.equal(together, model.head(hidden))
    kept = mask.bool()
    assert torch.allclose(together[kept], padded[:, : ids.shape[1]][kept], rtol=1e-4, atol=1e-5)


@families
def test_plain_data_rebuilds_the_network(family: str) -> None:
    live = network(family, "attention")
    told = json.loads(json.dumps(spec(family, "attention").to_json()))
    torch.manual_seed(1)
    again = rebuild(ModelSpec(**told), []).eval()
    assert ModelSpec(**told) == spec(family, "attention")
    assert not again.head.weight.equal(live.head.weight)
    again.load_state_dict(live.state_dict())
    with torch.no_grad():
        assert again(*rows(family)).equal(live(*rows(family)))


@families
def test_the_body_has_no_weight_that_the_logits_ignore(family: str) -> None:
    """A pooler or another leftover would be counted as a parameter and never be trained."""
    model = network(family, "attention")
    model(*rows(family)).square().sum().backward()
    idle = {name for name, p in model.named_parameters() if p.grad is None}
    assert idle == set()


@families
def test_the_longest_row_can_be_read(family: str, tiny_model: Model) -> None:
    model = Model(spec(family), network(family), tiny_model.tokenizer)
    ids = torch.full((1, model.max_tokens), VOCABULARY - 1)
    with torch.no_grad():
        assert model.network(ids, torch.ones_like(ids)).isfinite().all()
        if family == "roberta":
            longer = torch.full((1, model.max_tokens + 1), VOCABULARY - 1)
            with pytest.raises((IndexError, RuntimeError)):
                model.network(longer, torch.ones_like(longer))


def test_applied_edits_are_remembered_in_order(tiny_model: Model) -> None:
    edits = [
        Edit("clinlm.models.surgery.keep_layers", {"numbers": [1, 3]}),
        Edit("clinlm.models.surgery.keep_ffn_units", {"units": {"1": [0, 2]}}),
    ]
    for edit in edits:
        tiny_model.apply(edit)
    assert tiny_model.edits == edits
    replayed = rebuild(tiny_model.spec, tiny_model.edits)
    replayed.load_state_dict(tiny_model.network.state_dict())


def test_an_edit_that_fails_is_not_remembered(tiny_model: Model) -> None:
    with pytest.raises(ValueError, match="layer to keep must be one of 0 to 3, got 9"):
        tiny_model.apply(Edit("clinlm.models.surgery.keep_layers", {"numbers": [9]}))
    assert tiny_model.edits == []


@pytest.mark.parametrize("function", ["os.system", "subprocess.run", "clinlmx.edits.keep_layers", "builtins.exec", ""])
def test_an_edit_names_code_of_ours_only(function: str) -> None:
    with pytest.raises(ModelError, match="function of an edit must be in clinlm. or callbacks."):
        Edit(function)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("clinlm.models.surgery.keep_windows", {}),
        ("clinlm.no_such_module.keep_layers", {"numbers": [0]}),
        ("clinlm.models.surgery.keep_layers", {"layers": [0]}),
        ("clinlm.models.surgery.quantize", {"layer": "clinlm.old.Int8Linear", "names": []}),
    ],
)
def test_an_edit_of_another_version_says_how_to_rebuild(
    tiny_model: Model, function: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(ModelError, match=r"made by another version of clinlm; rebuild it \(run the pipeline again\)"):
        tiny_model.apply(Edit(function, arguments))


def test_an_artifact_imports_no_package_that_is_not_imported_yet(
    tiny_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stored file names a class, and importing its module would run it."""
    (tmp_path / "foreign_layers.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    edit = Edit("clinlm.models.surgery.quantize", {"layer": "foreign_layers.Int2Linear", "names": []})
    with pytest.raises(ModelError, match=r"got 'foreign_layers.Int2Linear'; if you trust .* import it first: python"):
        tiny_model.apply(edit)
    assert "foreign_layers" not in sys.modules and tiny_model.edits == []
    save_network(replace(tiny_model, edits=[edit]), tmp_path)
    assert foreign_packages(tmp_path) == [], "nor does a new process import it"
    monkeypatch.setitem(sys.modules, "foreign_layers", ModuleType("foreign_layers"))
    assert foreign_packages(tmp_path) == ["foreign_layers"]


def test_dropout_acts_in_training_only() -> None:
    model = ModelSpec(CONFIGS["bert"], outputs=3, dropout=0.5).build()
    tokens: dict[str, Any] = dict(zip(("input_ids", "attention_mask"), rows("bert"), strict=True))
    with torch.no_grad():
        assert not model.train()(**tokens).equal(model(**tokens))
        assert model.eval()(**tokens).equal(model(**tokens))
    assert isinstance(model.dropout, nn.Dropout) and model.dropout.p == 0.5
