"""Laws of pruning by masks: exact zeros whatever trains, after saving and loading, and what it refuses."""

import inspect
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from hydra.utils import get_object, instantiate
from lightning.pytorch.callbacks import EarlyStopping
from omegaconf import OmegaConf
from support.competition import groups, linears
from support.pipelines import FAST, built, factory, kept, reported
from torch import Tensor, nn
from torch.nn.utils import parametrize

from callbacks.keep_best import KeepBest
from callbacks.prune.masks import MaskPruning
from callbacks.prune.movement import Movement
from callbacks.prune.semi_structured import SemiStructured
from callbacks.prune.unstructured import Unstructured
from callbacks.prune.wanda import Wanda
from callbacks.recover.finetune import Finetune
from callbacks.schedules.cubic import Cubic
from callbacks.schedules.one_shot import OneShot
from clinlm.config.validation import CONF
from clinlm.models.adapters.full import Full
from clinlm.models.adapters.lora import Lora
from clinlm.models.model import Model
from clinlm.models.size import count_nonzero
from clinlm.tasks.data import TaskData
from clinlm.tasks.multilabel import MultiLabel
from clinlm.training.modules.teacher import Teacher

pytestmark = pytest.mark.usefixtures("quick")
SCHEDULES = sorted(CONF.glob("schedule/*.yaml"))
ADAPTERS = {"full": Full(), "lora": Lora(r=4, alpha=8, dropout=0.0)}
AT_ONCE = OneShot()


def plain(path: Path) -> dict[str, Any]:
    content = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(content, dict)
    return {str(name): value for name, value in content.items()}


METHODS = [p for p in sorted(CONF.glob("prune/*.yaml")) if issubclass(get_object(plain(p)["_target_"]), MaskPruning)]
PAIRS = [
    pytest.param(path, schedule, id=f"{path.stem}-{schedule.stem if schedule else 'own'}")
    for path in METHODS
    for schedule in (SCHEDULES if plain(path)["schedule"] == "${schedule}" else [None])
]
"""Every method with every schedule, or with the one that its yaml brings along."""


def method(path: Path, schedule: Path | None = None, **settings: Any) -> Any:
    """The method of a yaml, with those of `settings` that it knows; its own schedule counts before another."""
    content = plain(path)
    if content["schedule"] == "${schedule}":
        content["schedule"] = plain(schedule or CONF / "schedule/one_shot.yaml")
    known = inspect.signature(get_object(content["_target_"])).parameters
    return instantiate(content | {name: value for name, value in settings.items() if name in known})


def assert_exact(pruning: MaskPruning, before: dict[str, Tensor], after: dict[str, Tensor]) -> None:
    """Every group has as many zeros as it was to have; zeros that were there are there, and no weight is elsewhere."""
    for old, new in zip(groups(before, pruning.scope), groups(after, pruning.scope), strict=True):
        assert int((new == 0).sum()) == max(round(pruning.ratio * len(new)), int((old == 0).sum()))
    assert all((after[name][old == 0] == 0).all() for name, old in before.items())
    rows = pruning.report().rows
    assert [row.linear for row in rows] == list(after)
    assert [row.zeros for row in rows] == [int((weight == 0).sum()) for weight in after.values()]
    assert all(row.share == row.zeros / row.weights for row in rows)


# Law 4: it keeps its promise, whatever trains in the same stage.


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize(("path", "schedule"), PAIRS)
def test_zeros_are_exact_after_training(
    tmp_path: Path, task: MultiLabel, tiny_model: Model, path: Path, schedule: Path | None, adapter: str
) -> None:
    with torch.no_grad():
        tiny_model.network.body.encoder.layer[0].intermediate.dense.weight[:, :20] = 0.0  # an earlier prune stage
    start, pruning = kept(tiny_model, tmp_path / "start"), method(path, schedule, ratio=0.3)
    module = factory(Teacher, adapter=ADAPTERS[adapter], optimizer=FAST.at(2e-2, 2e-2))
    mixed: dict[str, Any] = {"precision": "bf16-mixed", "clip": None} if adapter == "lora" else {}
    stage = built(tmp_path / "built", task, start, {"prune": pruning}, module=module, epochs=3, accumulate=2, **mixed)
    after = stage.load()
    before = start.load()
    assert_exact(pruning, linears(before), linears(after))
    assert not any(parametrize.is_parametrized(m) for m in after.network.modules())
    assert {name: t.shape for name, t in after.network.state_dict().items()} == {
        name: t.shape for name, t in before.network.state_dict().items()
    }
    for name, new in linears(after).items():
        learns = adapter == "full" or name.endswith(("query", "key", "value"))
        assert (new[new != 0] != linears(before)[name][new != 0]).float().mean() > 0.99 or not learns, name
    assert (after.network.head.weight != 0).all()


@pytest.mark.parametrize("path", [path for path in METHODS if path.stem != "movement"], ids=lambda path: path.stem)
def test_one_shot_removes_the_worst_and_touches_nothing_else(
    tmp_path: Path, task: MultiLabel, tiny_model: Model, path: Path
) -> None:
    data = TaskData(task, tiny_model.tokenizer, 32)
    start, pruning = kept(tiny_model, tmp_path / "start"), method(path, ratio=0.4)
    artifact = built(tmp_path / "built", task, start, {"prune": pruning})
    before, after = linears(start.load()), linears(artifact.load())
    assert_exact(pruning, before, after)
    assert all(torch.equal(new, torch.where(new == 0, 0.0, before[name])) for name, new in after.items())
    worth = dict(before)
    if isinstance(pruning, Wanda):
        fresh = Wanda(documents=64, schedule=AT_ONCE)
        fresh.linears = {n: m for n, m in tiny_model.network.body.named_modules() if isinstance(m, nn.Linear)}
        worth = dict(zip(before, fresh.scores(Teacher(tiny_model, data, Full(), FAST)), strict=True))
    for score, new in zip(groups(worth, pruning.scope), groups(after, pruning.scope), strict=True):
        assert score.abs()[new == 0].max() <= score.abs()[new != 0].min()
    assert artifact.report["nonzero"] == count_nonzero(start.load().network) - sum(
        row.zeros for row in pruning.report().rows
    )
    rows = reported(artifact, "prune")
    for number, row in enumerate(rows if rows[0].threshold is not None else []):
        gone = {name: before[name].abs()[new == 0] for name, new in after.items()}
        one = list(gone.values())[number] if pruning.scope == "layer" else torch.cat(list(gone.values()))
        assert row.threshold == pytest.approx(float(one.max()))


def test_a_ragged_end_stays_dense(tmp_path: Path, task: MultiLabel, tiny_model: Model) -> None:
    pruning = SemiStructured(3, 7, schedule=AT_ONCE)  # of 32 inputs 4 are left over, of 48 there are 6
    start = kept(tiny_model, tmp_path / "start")
    after = linears(built(tmp_path / "built", task, start, {"prune": pruning}, epochs=1).load())
    for row, weight in zip(pruning.report().rows, after.values(), strict=True):
        tail = weight[:, weight.shape[1] // 7 * 7 :]
        assert row.dense_tail == tail.numel() > 0 and (tail != 0).all()
        assert row.zeros == (weight.shape[1] // 7 * 4) * len(weight)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_recovery_in_the_same_stage_keeps_them(
    tmp_path: Path, task: MultiLabel, tiny_model: Model, adapter: str
) -> None:
    pruning, recovery = Unstructured(0.6, "layer", schedule=Cubic(end=0.5)), Finetune(2, 1e-2)
    start = kept(tiny_model, tmp_path / "start")
    module = factory(Teacher, adapter=ADAPTERS[adapter], optimizer=FAST)
    after = built(tmp_path / "built", task, start, {"recover": recovery, "prune": pruning}, module=module)
    assert_exact(pruning, linears(start.load()), linears(after.load()))
    again = built(tmp_path / "again", task, after, {"recover": Finetune(1, 1e-2)}, module=module)
    assert_exact(pruning, linears(start.load()), linears(again.load()))
    assert after.report["epochs"] == 2


# Laws 1 and 3: it acts, or it raises; what is out of range is refused.


@pytest.mark.parametrize("path", METHODS, ids=lambda path: path.stem)
def test_a_mask_that_removes_nothing_new_raises(
    tmp_path: Path, task: MultiLabel, tiny_model: Model, path: Path
) -> None:
    with torch.no_grad():
        for module in tiny_model.network.body.modules():
            if isinstance(module, nn.Linear):
                module.weight[:, ::2] = 0.0
    start = kept(tiny_model, tmp_path / "start")
    with pytest.raises(RuntimeError, match="must change the network.*leave every tensor as it was"):
        built(tmp_path / "built", task, start, {"prune": method(path, ratio=1e-6, threshold=1e-12)}, epochs=1)
    assert not (tmp_path / "built" / "record.json").exists()


def test_what_ends_before_the_schedule_raises(tmp_path: Path, task: MultiLabel, tiny_model: Model) -> None:
    start, gradual = kept(tiny_model, tmp_path / "start"), partial(Unstructured, schedule=Cubic())
    with pytest.raises(ValueError, match="needs training, but its stage has epochs=0; .* or set schedule=one"):
        built(tmp_path / "zero", task, start, {"prune": gradual()})
    stops = EarlyStopping("val/macro_f1", patience=1, mode="max", stopping_threshold=-1.0)
    with pytest.raises(RuntimeError, match="final ratio 0.5, training stopped at .*% of it; remove early stopping"):
        built(tmp_path / "early", task, start, {"prune": gradual(), "stop": stops}, epochs=4)
    first = KeepBest("val/loss", mode="max")
    module = factory(Teacher, adapter=Full(), optimizer=FAST)
    with pytest.raises(RuntimeError, match=r"pruning must leave \d+ zeros, got .* remove .* keep_best"):
        built(tmp_path / "best", task, start, {"prune": gradual(), "keep": first}, module=module, epochs=4)
    built(tmp_path / "late", task, start, {"prune": gradual(schedule=Cubic(end=0.2)), "stop": stops}, epochs=4)


def test_scores_that_are_not_finite_raise(task: MultiLabel, tiny_model: Model) -> None:
    data = TaskData(task, tiny_model.tokenizer, 32)
    with torch.no_grad():
        tiny_model.network.body.encoder.layer[1].output.dense.weight[0, 0] = float("nan")
    with pytest.raises(RuntimeError, match="scores of weights must be finite"):
        Unstructured(schedule=AT_ONCE).prepare(Teacher(tiny_model, data, Full(), FAST))


def test_a_network_without_linear_weights_raises(task: MultiLabel, tiny_model: Model) -> None:
    data = TaskData(task, tiny_model.tokenizer, 32)
    tiny_model.network.body = nn.Embedding(3, 3)
    with pytest.raises(RuntimeError, match="masks need linear layers, Embedding has none"):
        Unstructured(schedule=AT_ONCE).prepare(Teacher(tiny_model, data, Full(), FAST))


def test_movement_refuses_scaled_gradients() -> None:
    trainer = cast(Any, SimpleNamespace(max_epochs=1, scaler=object(), precision="16-mixed"))
    with pytest.raises(ValueError, match="needs unscaled gradients, got precision=16-mixed.*bf16-mixed"):
        Movement(schedule=Cubic()).on_fit_start(trainer, cast(Any, None))


def wrong() -> Iterator[tuple[Any, str]]:
    for ratio in (0.0, 1.0, -0.1, float("nan")):
        for make in (Unstructured, Wanda):
            yield partial(make, ratio, schedule=AT_ONCE), r"prune.ratio must be in \(0, 1\), got"
        yield partial(Movement, ratio, schedule=Cubic()), r"prune.ratio must be in \(0, 1\), got"
    for make in (Unstructured, Movement):
        yield (
            partial(make, scope=cast(Any, "row"), schedule=Cubic()),
            "prune.scope must be .*, got 'row'",
        )
    for n, m in ((0, 4), (4, 4), (5, 4)):
        yield partial(SemiStructured, n, m, schedule=AT_ONCE), f"1 <= n < m, got n={n}, m={m}"
    yield partial(Wanda, documents=0, schedule=AT_ONCE), "prune.documents must be >= 1"
    yield partial(Movement, schedule=AT_ONCE), "needs a gradual prune.schedule.*, got OneShot"


@pytest.mark.parametrize(("make", "told"), [*wrong()])
def test_wrong_settings_are_refused(make: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make()
