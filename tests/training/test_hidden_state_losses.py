"""Laws of hidden_state_loss, for every yaml in conf/hidden_state_loss and every family of encoders."""

import copy
from typing import Any

import pytest
import torch
from hydra.utils import get_object
from omegaconf import OmegaConf
from support.families import CONFIGS, network, rows
from torch import Tensor, nn

from clinlm.config.validation import CONF
from clinlm.models import structure
from clinlm.models.adapters.lora import Lora
from clinlm.models.layers.low_rank_linear import LowRankLinear
from clinlm.models.model import Network
from clinlm.models.surgery import keep_ffn_units, keep_heads, keep_hidden, keep_layers, replace_module
from clinlm.training.hidden_state_losses.base import HiddenStateLoss, every, projection

NAMES = sorted(path.stem for path in CONF.glob("hidden_state_loss/*.yaml") if path.stem != "none")
FAMILIES = sorted(CONFIGS)
Rows = tuple[Tensor, Tensor]


def hidden_state_loss(name: str, **settings: Any) -> HiddenStateLoss:
    """That of a yaml, but for `settings`."""
    told: dict[str, Any] = {**OmegaConf.load(CONF / "hidden_state_loss" / f"{name}.yaml")}
    made: HiddenStateLoss = get_object(told.pop("_target_"))(**told | settings)
    return made


def loss(one: HiddenStateLoss, student: Network, teacher: Network, read: Rows, body: nn.Module | None = None) -> Tensor:
    """What hidden_state_loss say of two networks that read the same rows."""
    torch.manual_seed(0)
    one.attach(body or student.body, teacher.body)
    return again(one, student, teacher, read)


def again(one: HiddenStateLoss, student: Network, teacher: Network, read: Rows) -> Tensor:
    with one.watching(teacher=False) as ours:
        student(*read)
    with one.watching(teacher=True) as theirs, torch.no_grad():
        teacher(*read)
    found: Tensor = one(ours, theirs, read[1])
    return found


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", NAMES)
def test_a_student_that_is_its_teacher_has_nothing_to_learn(name: str, family: str) -> None:
    student, teacher, other = network(family), network(family), network(family, seed=1)
    assert abs(loss(hidden_state_loss(name), student, teacher, rows(family)).item()) < 1e-5
    assert loss(hidden_state_loss(name), other, teacher, rows(family)).item() > 1e-4


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", NAMES)
def test_padding_changes_nothing(name: str, family: str) -> None:
    ids, mask = rows(family)
    pad = CONFIGS[family].get("pad_token_id", 0)
    wide = torch.cat([ids, torch.full((3, 4), pad)], 1), torch.cat([mask, torch.zeros(3, 4, dtype=torch.long)], 1)
    found = [
        loss(hidden_state_loss(name), network(family), network(family, seed=1), read) for read in ((ids, mask), wide)
    ]
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("place", [0, -1])
@pytest.mark.parametrize("name", NAMES)
def test_every_layer_that_is_compared_counts(name: str, place: int) -> None:
    """A change of the teacher's weights, in its first or its last layer, is seen."""
    student, teacher, one = network("bert"), network("bert"), hidden_state_loss(name)
    before = loss(one, student, teacher, rows("bert")).item()
    layer = structure.layers(teacher.body)[place]
    with torch.no_grad():
        for part in (layer.query, layer.key, layer.value):
            part.weight.add_(torch.randn(part.weight.shape, generator=torch.Generator().manual_seed(0)))
    if name == "pkd" and place == -1:
        assert loss(one, student, teacher, rows("bert")).item() == before, (
            "the last layer has the answers to learn from"
        )
    else:
        assert loss(one, student, teacher, rows("bert")).item() > before + 1e-4


@pytest.mark.parametrize(("student", "teacher"), [*zip(FAMILIES, [*FAMILIES[1:], FAMILIES[0]], strict=True)])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_the_student_and_stay_out_of_the_teacher(name: str, student: str, teacher: str) -> None:
    """Whatever the families; the gradient is finite, and going along it is better."""
    ours, theirs = network(student), network(teacher, seed=1)
    read = rows(student)
    one = hidden_state_loss(name)
    before = loss(one, ours, theirs, read)
    before.backward()
    gradients = [p.grad for p in (*ours.body.parameters(), *one.parameters()) if p.grad is not None]
    assert gradients and all(gradient.isfinite().all() for gradient in gradients)
    assert all(p.grad is None for p in theirs.parameters())
    size = torch.stack([g.norm() for g in gradients]).norm().item()
    with torch.no_grad():
        for parameter in (*ours.body.parameters(), *one.parameters()):
            if parameter.grad is not None:
                parameter.sub_(parameter.grad, alpha=1e-3 / size)
    assert again(one, ours, theirs, read).item() < before.item()


def smaller(what: str, family: str) -> Network:
    student = network(family, seed=1)
    match what:
        case "layers":
            keep_layers(student, [0, 2])
        case "hidden":
            keep_hidden(student, list(range(10)))
        case "heads":
            keep_heads(student, {"0": [1], "2": [0]})
        case "units":
            keep_ffn_units(student, {"1": [0, 3]})
        case "factors":
            query = structure.layers(student.body)[2].query
            name = next(name for name, module in student.named_modules() if module is query)
            replace_module(student, name, LowRankLinear.of(query, 2))
    return student


@pytest.mark.parametrize("family", ["bert", "distilbert"])
@pytest.mark.parametrize("what", ["layers", "hidden", "heads", "units", "factors"])
@pytest.mark.parametrize("name", NAMES)
def test_smaller_students(name: str, what: str, family: str) -> None:
    student, teacher = smaller(what, family), network(family)
    if (name, what) == ("pkd", "hidden"):
        with pytest.raises(ValueError, match="one width, got student=10, teacher=16; choose"):
            loss(hidden_state_loss(name), student, teacher, rows(family))
        return
    found = loss(hidden_state_loss(name), student, teacher, rows(family))
    found.backward()
    assert found.isfinite() and found.item() > 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in student.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_a_deeper_student(name: str) -> None:
    teacher = network("bert")
    keep_layers(teacher, [0, 1])
    if name in ("pkd", "tinybert"):
        with pytest.raises(ValueError, match="got 3, 2; remove some"):
            loss(hidden_state_loss(name), network("bert"), teacher, rows("bert"))
    else:
        assert loss(hidden_state_loss(name), network("bert"), teacher, rows("bert")).item() > 0


@pytest.mark.parametrize("name", NAMES)
def test_half_precision(name: str) -> None:
    student, teacher, one = network("bert"), network("bert", seed=1), hidden_state_loss(name)
    exact = loss(one, student, teacher, rows("bert"))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = again(one, student, teacher, rows("bert"))
    rounded.backward()
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.02)
    assert all(p.grad is None or p.grad.isfinite().all() for p in student.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_the_weight_multiplies(name: str) -> None:
    student, teacher = network("bert"), network("bert", seed=1)
    one, three = (loss(hidden_state_loss(name, weight=weight), student, teacher, rows("bert")) for weight in (1.0, 3.0))
    torch.testing.assert_close(three, 3 * one)
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="hidden_state_loss.weight must be positive and finite, got"):
            hidden_state_loss(name, weight=wrong)


@pytest.mark.parametrize("name", NAMES)
def test_what_lora_learns_is_seen(name: str) -> None:
    """The encoder is wrapped and its linear layers are others; the loss moves with the update."""
    student, teacher = network("bert"), network("bert")
    body = student.body
    Lora(r=2, alpha=4, dropout=0.0).attach(student)
    one = hidden_state_loss(name)
    assert abs(loss(one, student, teacher, rows("bert"), body).item()) < 1e-5, "the update begins at zero"
    with torch.no_grad():
        for parameter in (p for p in student.body.parameters() if p.requires_grad):
            parameter.fill_(0.3)
    assert again(one, student, teacher, rows("bert")).item() > 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_left_on_the_networks(name: str) -> None:
    student, teacher = network("bert"), network("bert", seed=1)
    before = copy.deepcopy(student.state_dict())
    loss(hidden_state_loss(name), student, teacher, rows("bert"))
    hooks = [m._forward_hooks or m._forward_pre_hooks for one in (student, teacher) for m in one.modules()]
    assert not any(hooks)
    assert all(tensor.equal(before[key]) for key, tensor in student.state_dict().items())


@pytest.mark.parametrize("name", NAMES)
def test_networks_without_encoder_layers_are_refused(name: str) -> None:
    class Bag(nn.Module):
        pass

    for pair in ((Bag(), network("bert").body), (network("bert").body, Bag())):
        with pytest.raises(ValueError, match="needs known encoder layers; the (student|teacher) is a Bag"):
            hidden_state_loss(name).attach(*pair)


def test_the_layer_map() -> None:
    assert every(4, 12) == [(1, 3), (2, 6), (3, 9), (4, 12)]
    assert every(3, 4) == [(1, 1), (2, 2), (3, 4)]
    for student in range(1, 7):
        for teacher in range(student, 13):
            theirs = [theirs for _, theirs in every(student, teacher)]
            assert theirs == sorted(set(theirs)) and theirs[0] >= 1 and theirs[-1] == teacher


def test_projections_keep_lengths() -> None:
    vectors = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    assert projection(6, 6)(vectors).equal(vectors)
    torch.testing.assert_close(projection(6, 9)(vectors).norm(dim=1), vectors.norm(dim=1))
