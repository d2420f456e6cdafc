"""Laws of all adapters: they begin as nothing, merging keeps what was learnt, zeros stay, and few weights learn."""

from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from support.families import CONFIGS, network, rows
from torch import Tensor, nn
from torch.nn.utils import parametrize

from clinlm.compression.masks import KeepZeros
from clinlm.config.validation import CONF
from clinlm.models.adapters.adalora import Adalora
from clinlm.models.adapters.base import Adapter
from clinlm.models.adapters.bitfit import Bitfit
from clinlm.models.adapters.ia3 import Ia3
from clinlm.models.adapters.last_layers import LastLayers
from clinlm.models.adapters.vera import Vera
from clinlm.models.model import Network

STEMS = sorted(path.stem for path in CONF.glob("adapter/*.yaml"))
SMALL = {
    "lora": {"r": 2},
    "rslora": {"r": 2},
    "dora": {"r": 2},
    "pissa": {"r": 2},
    "adalora": {"r": 2, "start_r": 3},
    "vera": {"r": 8},
}
STEPS = 6
OTHER = sorted({*CONFIGS} - {"bert", "distilbert"})
every = pytest.mark.parametrize("stem", STEMS)
families = pytest.mark.parametrize(
    "family", ["bert", "distilbert", *(pytest.param(own, marks=pytest.mark.integration) for own in OTHER)]
)


def adapter(stem: str, **settings: Any) -> Adapter:
    made: Adapter = instantiate(OmegaConf.load(CONF / f"adapter/{stem}.yaml"), **SMALL.get(stem, {}) | settings)
    return made


def answer(model: Network, family: str) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model.eval()(*rows(family))
    return logits


def learn(model: Network, family: str, own: Adapter, steps: int = STEPS) -> None:
    own.schedule(model, steps)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        loss, penalty = model.train()(*rows(family)).square().mean(), own.penalty(model)
        (loss if penalty is None else loss + penalty).backward()
        optimizer.step()
        own.step(model, step)


@every
@families
def test_it_begins_as_nothing_and_merging_changes_no_answer(stem: str, family: str) -> None:
    model = network(family, "attention")
    names, own = {*model.state_dict()}, adapter(stem)
    body, zeros = model.body, {}
    if (stem, family) == ("bitfit", "modernbert"):
        with pytest.raises(ValueError, match="needs an encoder with biases"):
            own.check(model)
        return
    own.check(model)
    for name, linear in model.body.named_modules():
        if isinstance(linear, nn.Linear) and family == "bert":  # recovery of a pruned network
            zeros[name] = torch.rand(linear.weight.shape, generator=torch.Generator().manual_seed(len(name))) < 0.5
            linear.weight.data[zeros[name]] = 0
            parametrize.register_parametrization(linear, "weight", KeepZeros(~zeros[name]))
    before = answer(model, family)
    own.attach(model)
    assert torch.allclose(answer(model, family), before, atol=1e-5)
    learn(model, family, own)
    learnt = answer(model, family)
    for module in [module for module in model.modules() if parametrize.is_parametrized(module)]:
        parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
    own.merge(model)
    for name, zero in zeros.items():  # as recovery does after merging
        body.get_submodule(name).get_parameter("weight").data[zero] = 0
    assert model.body is body and {*model.state_dict()} == names
    assert all(p.requires_grad for p in model.parameters())
    assert torch.allclose(answer(model, family), learnt, atol=1e-5)
    assert not torch.allclose(learnt, before, atol=1e-2)


@every
def test_head_and_pooling_learn_and_little_else(stem: str) -> None:
    model = network("bert", "attention")
    whole = sum(p.numel() for p in model.parameters())
    own = adapter(stem)
    own.attach(model)
    learning = {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}
    assert {name for name, _ in model.named_parameters() if name.startswith(("head.", "pooling."))} <= learning.keys()
    count = sum(learning.values())
    assert count == whole if stem == "full" else count < 0.4 * whole
    assert own.wraps == any(parameter.startswith("body.model.") for parameter, _ in model.named_parameters())


@pytest.mark.parametrize("stem", ["adalora", "dora", "vera"])
def test_a_checkpoint_holds_all_that_training_needs(stem: str) -> None:
    """Tensors and `state` suffice to go on."""
    own, model, second, other = adapter(stem), network("bert"), adapter(stem), network("bert", seed=1)
    for one, what in ((own, model), (second, other)):
        one.attach(what)
        for module in what.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
    learn(model, "bert", own, 3)
    other.load_state_dict(model.state_dict())
    second.restore(other, own.state(model))
    learn(model, "bert", own)
    learn(other, "bert", second)
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in model.state_dict().items())


def test_ranks_are_shared_out_over_the_steps() -> None:
    model, own = network("bert"), Adalora(r=2, start_r=4, warmup=0.2, cooldown=0.3, dropout=0.0)
    own.attach(model)

    def rank() -> int:
        values = [p for name, p in model.named_parameters() if "lora_E" in name]
        assert len(values) == 9
        return sum(int((value != 0).sum()) for value in values)

    own.schedule(model, 20)
    optimizer, ranks = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05), []
    for step in range(1, 21):
        optimizer.zero_grad()
        (model(*rows("bert")).square().mean() + own.penalty(model)).backward()
        optimizer.step()
        own.step(model, step)
        ranks.append(rank())
    assert ranks[:4] == [36] * 4 and ranks[13:] == [18] * 7
    assert ranks == sorted(ranks, reverse=True) and len(set(ranks)) > 3


def test_the_last_layers_are_those_that_learn() -> None:
    model = network("bert")
    LastLayers(2).attach(model)
    learning = {
        name.split(".")[3] for name, p in model.body.named_parameters() if p.requires_grad for name in [f"body.{name}"]
    }
    assert learning == {"1", "2"}
    for refused in (LastLayers(4).check, LastLayers(4).attach):
        with pytest.raises(ValueError, match="adapter.layers must be at most 3"):
            refused(model)


def test_biases_learn() -> None:
    model = network("bert")
    Bitfit().attach(model)
    learning = {name for name, p in model.body.named_parameters() if p.requires_grad}
    assert learning == {name for name, _ in model.body.named_parameters() if name.endswith("bias")} and learning
    for linear in (module for module in model.body.modules() if isinstance(module, nn.Linear | nn.LayerNorm)):
        linear.bias = None
    for refused in (Bitfit().check, Bitfit().attach):
        with pytest.raises(ValueError, match="encoder with biases, BertModel has none"):
            refused(model)


def test_what_is_scaled_is_keys_values_and_units() -> None:
    model = network("bert")
    Ia3().attach(model)
    learning = {name: tuple(p.shape) for name, p in model.body.named_parameters() if p.requires_grad}
    units = {name for name, shape in learning.items() if shape == (1, 12)}
    assert len(learning) == 9 and len(units) == 3 and all("output.dense" in name for name in units)


def test_the_body_learns_faster_and_the_head_does_not() -> None:
    from clinlm.training.optimizer import AdamW

    model = network("bert")
    optimizer, _ = AdamW(1e-3, None, warmup=0.0).multiplied(20.0).build(model, 10)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert {rates[id(p)] for p in model.head.parameters()} == {1e-3}
    assert {rates[id(p)] for p in model.body.parameters()} == {2e-2}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Adalora(r=4, start_r=4), "adapter.start_r must be more than adapter.r"),
        (lambda: Adalora(warmup=0.5, cooldown=0.5), "less than 1 together"),
        (lambda: Vera(r=0), "adapter.r"),
        (lambda: Bitfit(0), "adapter.learning_rate_factor"),
        (lambda: LastLayers(0), "adapter.layers"),
        (lambda: Ia3(inputs="down"), "adapter.inputs"),
    ],
)
def test_settings_are_checked(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("stem", [stem for stem in STEMS if adapter(stem).wraps])
def test_merging_what_was_never_attached_is_an_error(stem: str) -> None:
    with pytest.raises(RuntimeError, match="attached"):
        adapter(stem).merge(network("bert"))


def test_what_misses_its_targets_is_known_before() -> None:
    model = network("bert")
    before = [name for name, _ in model.named_modules()]
    with pytest.raises(ValueError, match=r"adapter.targets must match linear layers of the encoder, got \['gate'\]"):
        adapter("lora", targets=["gate"]).check(model)
    assert [name for name, _ in model.named_modules()] == before
