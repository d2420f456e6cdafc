"""Laws of schedules, and of a gradual method that is killed on its way."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from support.pipelines import FAST, built, factory, kept, killed_until_done

from callbacks.checkpoint import Checkpoint
from callbacks.prune.masks import MaskPruning
from callbacks.prune.movement import Movement
from callbacks.prune.unstructured import Unstructured
from callbacks.prune.wanda import Wanda
from callbacks.schedules.base import Schedule
from callbacks.schedules.cubic import Cubic
from clinlm.config.validation import CONF
from clinlm.models.adapters.full import Full
from clinlm.models.adapters.lora import Lora
from clinlm.models.artifact import Artifact
from clinlm.models.model import Model
from clinlm.tasks.multilabel import MultiLabel
from clinlm.training.modules.base import Module
from clinlm.training.modules.teacher import Teacher

pytestmark = pytest.mark.usefixtures("quick")
SCHEDULES = sorted(CONF.glob("schedule/*.yaml"))


@pytest.mark.parametrize("path", SCHEDULES, ids=lambda path: path.stem)
@given(st.floats(0, 1), st.floats(0, 1))
def test_a_share_never_falls_and_ends_at_one(path: Path, one: float, other: float) -> None:
    schedule = instantiate(OmegaConf.load(path))
    assert isinstance(schedule, Schedule)
    assert 0 <= schedule.share(min(one, other)) <= schedule.share(max(one, other)) <= schedule.share(1.0) == 1


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_cubic_share_is_the_papers(begin: float, end: float) -> None:
    """On the stairs that the paper's steps t0 + k dt stand for; s_i = 0, s_f = 1."""
    if not begin + 0.01 < end:
        return
    schedule = Cubic(begin, end, updates=8)
    for k in range(9):
        share = schedule.share(begin + (k + 0.5) / 8 * (end - begin))
        assert share == pytest.approx(1 + (0 - 1) * (1 - min(k, 8) / 8) ** 3)
    assert schedule.share(begin) == 0 and schedule.share(end) == 1 == schedule.share(1.0)


@pytest.mark.parametrize(("begin", "end"), [(-0.1, 0.5), (0.5, 0.5), (0.6, 0.5), (0.0, 1.1), (float("nan"), 1.0)])
def test_wrong_ends_are_refused(begin: float, end: float) -> None:
    with pytest.raises(ValueError, match="a cubic schedule must have 0 <= begin < end <= 1"):
        Cubic(begin, end)


def test_no_updates_are_refused() -> None:
    with pytest.raises(ValueError, match="schedule.updates must be at least 1, got 0"):
        Cubic(updates=0)


@pytest.mark.parametrize(("updates", "times"), [(1, 1), (3, 3), (50, 16)])
def test_a_method_acts_as_often_as_the_share_rises(
    tmp_path: Path, task: MultiLabel, tiny_model: Model, updates: int, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four epochs of five steps: within 0.8 of them are 16, each with a stair of its own where there are more."""
    calls, scores = [], Unstructured.scores

    def counting(self: Unstructured, module: Module) -> Any:
        calls.append(self._share)
        return scores(self, module)

    monkeypatch.setattr(Unstructured, "scores", counting)
    start = kept(tiny_model, tmp_path / "start")
    pruning = Unstructured(schedule=Cubic(end=0.8, updates=updates))
    artifact = built(tmp_path / "built", task, start, {"prune": pruning}, epochs=4)
    assert artifact.report["steps"] == 20
    assert len(calls) == times and calls == sorted(set(calls)) and calls[-1] == 1


# Resuming.


@pytest.mark.parametrize("adapter", [Full(), Lora(r=2, dropout=0.0)], ids=["full", "lora"])
@pytest.mark.parametrize(
    "make",
    [
        partial(Unstructured, 0.6, schedule=Cubic(end=0.9)),
        partial(Wanda, 0.6, documents=8, schedule=Cubic(end=0.5, updates=3)),
        partial(Movement, 0.6, schedule=Cubic(0.1, 0.9)),
    ],
    ids=["unstructured", "wanda", "movement"],
)
def test_a_killed_stage_goes_on_to_the_same_bytes(
    tmp_path: Path, task: MultiLabel, tiny_model: Model, make: Any, adapter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch has 5 batches and 3 optimiser steps; the first batch of an epoch ends no step."""
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # this is about masks, not about dropout
    tiny_model.spec = replace(tiny_model.spec, config={**tiny_model.spec.config, **still}, dropout=0.0)
    start = kept(tiny_model, tmp_path / "start")
    module = factory(Teacher, adapter=adapter, optimizer=FAST)

    def build(folder: str) -> Artifact:
        pruning: MaskPruning = make()
        callbacks = {"prune": pruning, "checkpoint": Checkpoint()}
        return built(tmp_path / folder, task, start, callbacks, module=module, epochs=4, accumulate=2)

    whole = build("whole")
    kills, broken = killed_until_done(partial(build, "broken"), monkeypatch, 7)
    assert kills >= 2
    one, other = ((artifact.folder / "model.safetensors").read_bytes() for artifact in (whole, broken))
    assert one == other and whole.report["methods"] == broken.report["methods"]
