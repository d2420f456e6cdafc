"""Laws of low-rank adaptation: it begins as nothing, little of it learns, and merging keeps what was learnt."""

from typing import Any

import pytest
import torch
from support.families import PARAMETERS, network, rows

from clinlm.models.adapters.lora import Lora
from clinlm.models.model import Network

TARGETS = {"distilbert": ["q_lin", "k_lin", "v_lin"]}
families = pytest.mark.parametrize("family", PARAMETERS)


def lora(family: str, **settings: Any) -> Lora:
    own: dict[str, Any] = {"r": 2, "alpha": 4, "targets": TARGETS.get(family, ["query", "key", "value"])}
    return Lora(**own | settings)


def learn(model: Network, family: str) -> None:
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        model(*rows(family)).square().mean().backward()
        optimizer.step()


@families
def test_little_learns_and_the_head_in_full(family: str) -> None:
    model = network(family, "attention")
    whole = sum(p.numel() for p in model.body.parameters())
    lora(family).attach(model)
    learning = {name for name, p in model.named_parameters() if p.requires_grad}
    head = {name for name, _ in model.named_parameters() if name.startswith(("head.", "pooling."))}
    assert head <= learning
    assert all("lora_" in name for name in learning - head)
    assert len(learning - head) == 2 * 3 * 3  # two factors for each of three projections of three layers
    body = sum(p.numel() for p in model.body.parameters() if p.requires_grad)
    assert body == 3 * 3 * 2 * (16 + 16)  # rank x (inputs + outputs)
    assert body < whole / 4


def test_the_update_is_the_product_scaled_by_alpha_over_r() -> None:
    model = network("bert")
    weight = model.get_submodule("body.encoder.layer.1.attention.self.query").weight.detach().clone()  # type: ignore[operator]
    adapter = lora("bert", r=4, alpha=6)
    adapter.attach(model)
    learn(model, "bert")
    parts = dict(model.named_parameters())
    (down,) = (p.detach() for n, p in parts.items() if "layer.1.attention.self.query.lora_A" in n)
    (up,) = (p.detach() for n, p in parts.items() if "layer.1.attention.self.query.lora_B" in n)
    adapter.merge(model)
    merged = model.get_submodule("body.encoder.layer.1.attention.self.query").weight
    assert torch.allclose(merged, weight + 6 / 4 * up @ down, atol=1e-6)  # type: ignore[arg-type]


def test_it_can_be_attached_again() -> None:
    model = network("bert")
    for _ in range(2):
        adapter = lora("bert")
        adapter.attach(model)
        learn(model, "bert")
        adapter.merge(model)
    assert not [name for name in model.state_dict() if "lora" in name]


@pytest.mark.parametrize(
    ("targets", "named"),
    [(["q_lin"], "q_lin"), (["query", "typo"], "typo"), (["uery"], "uery"), (["LayerNorm"], "LayerNorm")],
)
def test_every_target_is_a_linear_layer_of_the_encoder(targets: list[str], named: str) -> None:
    model = network("bert")
    with pytest.raises(ValueError, match=rf"must match linear layers.*, got \['{named}'\]; BertModel has .*'query'"):
        Lora(targets=targets).attach(model)


@pytest.mark.parametrize(
    ("name", "value"),
    [("r", 0), ("alpha", 0), ("dropout", 1.0), ("dropout", -0.1), ("targets", []), ("targets", "query")],
)
def test_settings_are_checked(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"adapter.{name}"):
        Lora(**{name: value})
