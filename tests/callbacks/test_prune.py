"""Laws of pruning: its arithmetic by hand and by slower ways, that it acts, and what it refuses."""

import copy
import inspect
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from hydra.utils import get_object, instantiate
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from support.pipelines import built, kept
from torch import Tensor, nn

from callbacks.prune.ffn import FfnPruning
from callbacks.prune.magnitude import Magnitude
from callbacks.prune.random import Random
from callbacks.prune.smart_griffin import SmartGriffin
from clinlm.compression.scores import activation_norms, row_l2_norms, unit_squares
from clinlm.compression.selection import keep_best
from clinlm.config.validation import CONF
from clinlm.models import structure
from clinlm.models.adapters.full import Full
from clinlm.models.model import Model
from clinlm.tasks.data import TaskData
from clinlm.tasks.multilabel import MultiLabel
from clinlm.text.long_notes import Windows
from clinlm.training.modules.teacher import Teacher
from clinlm.training.optimizer import AdamW

pytestmark = pytest.mark.usefixtures("quick")
METHODS = [
    path
    for path in sorted(CONF.glob("prune/*.yaml"))
    if issubclass(get_object(str(OmegaConf.load(path)._target_)), FfnPruning)
]


def method(path: Path, **settings: Any) -> Any:
    """The method of a yaml, with those of `settings` that it knows."""
    plain = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(plain, dict)
    known = inspect.signature(get_object(plain["_target_"])).parameters
    return instantiate(plain | {name: value for name, value in {"seed": 0, **settings}.items() if name in known})


# Law 6: its arithmetic is a pure function.


def test_weight_norms_by_hand() -> None:
    weight = torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 0.0], [1.0, -2.0, 2.0]])
    assert row_l2_norms(weight).tolist() == [5.0, 0.0, 3.0]


def test_unit_squares_by_hand() -> None:
    activations = torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, -7.0], [0.0, 0.0, 0.0]])
    assert unit_squares(activations).tolist() == pytest.approx([0.36, 0.64, 1.0])


def watched(module: nn.Linear) -> list[Tensor]:
    """What `module` reads, call by call."""
    seen: list[Tensor] = []
    module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    return seen


@pytest.mark.parametrize("long_notes", [None, Windows(most=3)], ids=["head", "windows"])
def test_activation_norms_are_those_of_a_slow_loop(
    task: MultiLabel, tiny_model: Model, long_notes: Windows | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slow loop reads one row after the other, so that there is no padding to ignore."""
    if long_notes is not None:
        monkeypatch.setitem(vars(task), "long_notes", long_notes)
    data = TaskData(task, tiny_model.tokenizer, 16)
    module = Teacher(tiny_model, data, Full(), AdamW(), seed=3)
    readers = [layer.down for layer in structure.layers(tiny_model.network.body)]
    found = activation_norms(module, readers, documents=9)
    assert tiny_model.network.training and not readers[0]._forward_pre_hooks
    batches = data.calibration(9, seed=3)
    assert any((batch["attention_mask"] == 0).any() for batch in batches)
    totals = np.zeros((len(readers), 48))
    seen = [watched(reader) for reader in readers]
    tiny_model.network.eval()
    for document in (number for batch in batches for number in batch["index"].tolist()):
        for row in data.encoded.rows(document):
            ids = torch.from_numpy(row.astype(np.int64))[None]
            tiny_model.network(ids, torch.ones_like(ids))
            for layer, calls in enumerate(seen):
                for token in calls.pop()[0].double().numpy():
                    totals[layer] += (token / np.sqrt((token**2).sum())) ** 2
    np.testing.assert_allclose(torch.stack(found).numpy(), np.sqrt(totals), rtol=1e-3)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12), st.floats(0.01, 0.99))
def test_the_best_stay(values: list[int], ratio: float) -> None:
    stay = keep_best(torch.tensor(values, dtype=torch.float), ratio)
    removed = min(len(values) - 1, round(ratio * len(values)))
    ranked = sorted(range(len(values)), key=lambda unit: (-values[unit], unit))  # ties to the first
    assert stay == sorted(ranked[: len(values) - removed])


@pytest.mark.parametrize("path", METHODS, ids=lambda path: path.stem)
def test_scores_rank_the_units_that_stay(task: MultiLabel, tiny_model: Model, path: Path) -> None:
    data = TaskData(task, tiny_model.tokenizer, 32)
    pruning = method(path, ratio=0.25)
    before = copy.deepcopy(tiny_model)
    module = Teacher(tiny_model, data, Full(), AdamW())
    scores = pruning.scores(Teacher(before, data, Full(), AdamW()))
    pruning.prepare(module)
    (edit,) = tiny_model.edits
    for number, row in enumerate(pruning.report().rows):
        units = edit.arguments["units"][str(number)]
        gone = [unit for unit in range(48) if unit not in units]
        assert len(units) == 36 == row.width_after and row.width_before == 48
        assert scores[number][units].min() >= scores[number][gone].max()
        assert row.score_mean == pytest.approx(float(scores[number].mean()), rel=1e-5)
        assert row.score_std == pytest.approx(float(np.std(scores[number].double().numpy())), rel=1e-5)
        old, new = (structure.layers(model.network.body)[number] for model in (before, tiny_model))
        assert torch.equal(new.up.weight, old.up.weight[units]) and torch.equal(new.up.bias, old.up.bias[units])
        assert torch.equal(new.down.weight, old.down.weight[:, units]) and torch.equal(new.down.bias, old.down.bias)


def test_scores_of_the_controls(task: MultiLabel, tiny_model: Model) -> None:
    module = Teacher(tiny_model, TaskData(task, tiny_model.tokenizer, 32), Full(), AdamW())
    layers = structure.layers(tiny_model.network.body)
    for layer, scores in zip(layers, Magnitude().scores(module), strict=True):
        assert scores.tolist() == pytest.approx(
            [sum(abs(w) for w in row) for row in layer.up.weight.tolist()], rel=1e-4
        )
    one, again, other = (Random(seed=seed).scores(module) for seed in (0, 0, 1))
    assert all(map(torch.equal, one, again)) and not any(map(torch.equal, one, other))


def test_a_layer_without_spread_is_left_whole(task: MultiLabel, tiny_model: Model) -> None:
    layers = structure.layers(tiny_model.network.body)
    with torch.no_grad():
        layers[1].up.weight.fill_(0.1)
    pruning = SmartGriffin(ratio=0.5)
    pruning.prepare(Teacher(tiny_model, TaskData(task, tiny_model.tokenizer, 32), Full(), AdamW()))
    assert [row.skipped for row in pruning.report().rows] == [False, True, False, False]
    assert [layer.up.out_features for layer in structure.layers(tiny_model.network.body)] == [24, 48, 24, 24]


# Law 3: it acts, or it raises.


@pytest.mark.parametrize("path", METHODS, ids=lambda path: path.stem)
def test_a_method_that_changes_nothing_raises(tmp_path: Path, task: MultiLabel, tiny_model: Model, path: Path) -> None:
    start = kept(tiny_model, tmp_path / "start")
    idle = {"ratio": 0.001}  # of 48 units: none
    told = "a compression method must change the network"
    with pytest.raises(RuntimeError, match=f"{told}.*left every tensor as it was.*ratio=0.001"):
        built(tmp_path / "built", task, start, {"prune": method(path, **idle)})
    assert not (tmp_path / "built" / "record.json").exists()


@pytest.mark.parametrize("make", [SmartGriffin, Magnitude, partial(SmartGriffin, statistic="activation")])
def test_a_method_that_skips_everything_raises(tmp_path: Path, task: MultiLabel, tiny_model: Model, make: Any) -> None:
    start = kept(tiny_model, tmp_path / "start")
    with pytest.raises(RuntimeError, match=r"left every tensor as it was \(.*skip_std=1e\+09; standard deviations"):
        built(tmp_path / "built", task, start, {"prune": make(0.5, skip_std=1e9)})


def test_a_width_that_changes_in_training_raises(tmp_path: Path, task: MultiLabel, tiny_model: Model) -> None:
    class Grows(Magnitude):  # type: ignore[misc]
        def step(self, module: Any, progress: float) -> None:
            layer = structure.layers(module.network.body)[0]
            layer.up.out_features = 48

    start = kept(tiny_model, tmp_path / "start")
    with pytest.raises(RuntimeError, match=r"FfnWidth promised \[24, 24, 24, 24\], got \[48,"):
        built(tmp_path / "built", task, start, {"prune": Grows(0.5)}, epochs=1)


def wrong() -> Iterator[tuple[Any, str]]:
    for ratio in (0.0, 1.0, -0.1, float("nan")):
        for make in (SmartGriffin, Magnitude, Random):
            yield partial(make, ratio), r"prune.ratio must be in \(0, 1\), got"
    yield partial(SmartGriffin, 0.5, -1.0), "prune.skip_std must be >= 0, got -1.0"
    yield (
        partial(SmartGriffin, statistic=cast(Any, "weights")),
        "prune.statistic must be one of weight, activation, got 'weights'",
    )
    yield partial(SmartGriffin, documents=0), "prune.documents must be >= 1"


@pytest.mark.parametrize(("make", "told"), [*wrong()])
def test_wrong_settings_are_refused(make: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make()
    assert issubclass(make.func, FfnPruning)
