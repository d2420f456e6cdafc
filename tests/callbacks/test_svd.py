"""Laws of factorising: the nearest product, only where it is smaller, and of the same rank after training."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.pipelines import FAST, built, kept

from callbacks.factorize.svd import Svd
from callbacks.prune.magnitude import Magnitude
from callbacks.prune.random import Random
from callbacks.prune.smart_griffin import SmartGriffin
from callbacks.recover.finetune import Finetune
from clinlm.config.errors import ModelError
from clinlm.models import structure
from clinlm.models.adapters.full import Full
from clinlm.models.initializers.from_teacher import FromTeacher
from clinlm.models.layers.int8_linear import Int8Linear
from clinlm.models.layers.low_rank_linear import LowRankLinear
from clinlm.models.model import Model
from clinlm.models.size import count_parameters
from clinlm.tasks.data import TaskData
from clinlm.tasks.multilabel import MultiLabel
from clinlm.training.modules.base import predict
from clinlm.training.modules.teacher import Teacher

pytestmark = pytest.mark.usefixtures("quick")


def ranks(model: Model) -> dict[str, int]:
    return {name: m.rank for name, m in model.network.named_modules() if isinstance(m, LowRankLinear)}


def prepared(task: MultiLabel, model: Model, **settings: Any) -> Svd:
    method = Svd(**settings)
    method.prepare(Teacher(model, TaskData(task, model.tokenizer, 32), Full(), FAST))
    return method


def test_every_row_tells_what_was_lost(task: MultiLabel, tiny_model: Model) -> None:
    whole = {n: m.weight.detach() for n, m in tiny_model.network.named_modules() if isinstance(m, torch.nn.Linear)}
    before = count_parameters(tiny_model.network)
    told = prepared(task, tiny_model, rank=5).report().rows
    assert len(told) == 4 * 6 == len(ranks(tiny_model)) and {*ranks(tiny_model).values()} == {5}
    for row in told:
        values = torch.linalg.svdvals(whole[row.linear].double())
        lost = math.sqrt(float(values[5:].square().sum() / values.square().sum()))
        assert row.relative_error == pytest.approx(lost, rel=1e-4)
        outputs, inputs = whole[row.linear].shape
        assert row.parameters_before == outputs * (inputs + 1)
        assert row.parameters_after == 5 * (outputs + inputs) + outputs
        pair = tiny_model.network.get_submodule(row.linear)
        assert isinstance(pair, LowRankLinear) and pair.training
        product = (pair.up.weight @ pair.down.weight).detach()
        assert float((product - whole[row.linear]).norm()) == pytest.approx(lost * float(values.norm()), rel=1e-3)
    saved = sum(row.parameters_before - row.parameters_after for row in told)
    assert count_parameters(tiny_model.network) == before - saved


def test_only_targets_and_only_what_gets_smaller(task: MultiLabel, tiny_model: Model) -> None:
    """Two factors of rank 16 are as large as a matrix of 32 x 32, and smaller than one of 32 x 48."""
    told = prepared(task, tiny_model, rank=16, targets=["query", "up"]).report().rows
    assert [row.rank for row in told] == [None, 16] * 4
    assert all(row.relative_error == 0 and row.parameters_after == 32 * 33 for row in told[::2])
    assert [*ranks(tiny_model)] == [f"body.encoder.layer.{n}.intermediate.dense" for n in range(4)]


def test_what_has_that_rank_answers_alike(task: MultiLabel, tiny_model: Model) -> None:
    data = TaskData(task, tiny_model.tokenizer, 32)
    with torch.no_grad():
        for layer in structure.layers(tiny_model.network.body):
            for linear in layer.linears:
                weight = linear.weight
                weight.copy_(torch.randn(weight.shape[0], 3) @ torch.randn(3, weight.shape[1]) * 0.1)
    loader = data.loader(task.examples.members("test"))
    before = predict(tiny_model.network, loader, task.long_notes)[1]
    told = prepared(task, tiny_model, rank=3).report().rows
    np.testing.assert_allclose(predict(tiny_model.network, loader, task.long_notes)[1], before, atol=1e-4)
    assert max(row.relative_error for row in told) < 1e-5


def test_ranks_hold_in_training_and_in_recovery(tmp_path: Path, task: MultiLabel, tiny_model: Model) -> None:
    start = kept(tiny_model, tmp_path / "start")
    # Pruning in the same stage comes first, and finds its widths again in the factors.
    both = {"prune": Magnitude(0.25), "factorize": Svd(rank=4)}
    made = built(tmp_path / "made", task, start, both, epochs=2)
    recovered = built(tmp_path / "recovered", task, made, {"recover": Finetune(epochs=2)})
    assert ranks(made.load()) == ranks(recovered.load()) and {*ranks(made.load()).values()} == {4}
    assert recovered.report["parameters"] == made.report["parameters"] < count_parameters(start.load().network) / 2
    for name in ranks(made.load()):
        before, after = (one.load().network.get_submodule(name) for one in (made, recovered))
        assert isinstance(before, LowRankLinear) and isinstance(after, LowRankLinear)
        assert not before.up.weight.equal(after.up.weight) and not before.down.weight.equal(after.down.weight)
        assert np.linalg.matrix_rank((after.up.weight @ after.down.weight).detach().numpy(), tol=1e-5) <= 4


def test_a_rank_that_changes_raises(tmp_path: Path, task: MultiLabel, tiny_model: Model) -> None:
    class Whole(Svd):  # type: ignore[misc]
        def step(self, module: Any, progress: float) -> None:
            module.network.body.encoder.layer[0].output.dense = torch.nn.Linear(48, 32)

    start = kept(tiny_model, tmp_path / "start")
    with pytest.raises(RuntimeError, match="Rank promised .*layer.0.output.dense': 4"):
        built(tmp_path / "built", task, start, {"factorize": Whole(4)}, epochs=1)


@pytest.mark.parametrize("make", [Magnitude, SmartGriffin, Random])
def test_factors_are_not_pruned_by_width(tmp_path: Path, task: MultiLabel, tiny_model: Model, make: Any) -> None:
    prepared(task, tiny_model, rank=4)
    with pytest.raises(ModelError, match="prune first, then factorise"):
        built(tmp_path / "built", task, kept(tiny_model, tmp_path / "start"), {"prune": make(0.5)})


def test_a_student_of_a_factorised_teacher(task: MultiLabel, tiny_model: Model) -> None:
    prepared(task, tiny_model, rank=4)
    student = FromTeacher(2).begin(task, tiny_model)
    assert len(ranks(student)) == 2 * 6
    with pytest.raises(ModelError, match="prune first, then factorise"):
        FromTeacher(2, 16).begin(task, tiny_model)


def test_twice_is_an_error(task: MultiLabel, tiny_model: Model) -> None:
    prepared(task, tiny_model, rank=4, targets=["up"])
    prepared(task, tiny_model, rank=4, targets=["down"])
    with pytest.raises(ModelError, match="must be linear, .*output.dense is a LowRankLinear; remove one"):
        prepared(task, tiny_model, rank=2, targets=["down", "up"])


def test_what_gets_no_smaller_raises(tmp_path: Path, task: MultiLabel, tiny_model: Model) -> None:
    told = r"left every tensor as it was \(rank=20: none of 24 linear layers is larger than its two factors"
    with pytest.raises(RuntimeError, match=told):
        built(tmp_path / "built", task, kept(tiny_model, tmp_path / "start"), {"factorize": Svd(20)})


def test_integers_are_not_factorised(task: MultiLabel, tiny_model: Model) -> None:
    Int8Linear.edit(["head"])(tiny_model.network)
    with pytest.raises(ModelError, match="weights must be floats"):
        prepared(task, tiny_model)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"rank": 0}, "factorize.rank must be >= 1, got 0"),
        ({"targets": []}, "factorize.targets must be a list out of"),
        ({"targets": "query"}, "factorize.targets must be a list, got 'query'"),
        ({"targets": ["query", "dense"]}, r"factorize.targets must be a list out of .*, got \['query', 'dense'\]"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Svd(**settings)
