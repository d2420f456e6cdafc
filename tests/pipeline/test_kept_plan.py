"""Laws of kept plans: one that is read is the one that would be made, and where it may not be, it is made."""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from support.pipelines import composed

from clinlm.config.errors import ConfigError
from clinlm.config.validation import CONF
from clinlm.models.checkpoint_place import CheckpointPlace
from clinlm.pipeline import execution, kept_plan
from clinlm.pipeline import plan as planning
from clinlm.pipeline.building import build_stage
from clinlm.pipeline.kept_plan import planned_stages
from clinlm.pipeline.stage_spec import StageSpec
from clinlm.tracking.run_progress import RunProgress

Plans = list[list[str]]
CHOICES: Sequence[tuple[str, ...]] = (
    ("pipeline=c", "prune.ratio=0.5", "gate=low"),
    ("pipeline=edge", "quantize=none", "seed=1"),
    ("pipeline=pruning_iterative",),
    ("pipeline=ensemble", "augmentation=mixing"),
)


@pytest.fixture(autouse=True)
def _unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process runs what is on the disk, even if somebody writes there now."""
    monkeypatch.setattr(kept_plan, "running_code", lambda: "code")
    monkeypatch.setattr(kept_plan, "may_keep", lambda: True)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Plans:
    """Return the stages of every plan that was made since, and not read."""
    found: Plans = []
    plan = planning.plan

    def making(config: Any) -> list[StageSpec]:
        stages = plan(config)
        found.append([spec.name for spec in stages])
        return stages

    monkeypatch.setattr(planning, "plan", making)
    return found


def in_order(stages: Sequence[StageSpec]) -> str:
    """All of a plan, settings in their order: callbacks are called in it."""
    return json.dumps([asdict(spec) for spec in stages])


def check_kept(notes: Path, root: Path, choices: Sequence[Sequence[str]], made: Plans) -> None:
    """Plan all twice on one store: the second time every plan is read, and is what was made."""
    configs = [composed(notes, root, *overrides) for overrides in choices]
    first = [planned_stages(config, root) for config in configs]
    assert len(made) == len(configs)
    second = [planned_stages(config, root) for config in configs]
    assert len(made) == len(configs)
    assert [*map(in_order, second)] == [*map(in_order, first)] and second == first
    orders = [[*spec.settings] for stages in second for spec in stages]
    assert any(order != sorted(order) for order in orders), "no order that could be lost"
    keys = [[execution.stage_key(spec, "task", None, []) for spec in stages] for stages in (*first, *second)]
    assert keys[: len(first)] == keys[len(first) :]


def test_what_is_read_is_what_was_made(notes_csv: Path, tmp_path: Path, made: Plans) -> None:
    check_kept(notes_csv, tmp_path / "store", CHOICES, made)


@pytest.mark.integration
def test_what_is_read_of_every_pipeline_is_what_was_made(notes_csv: Path, tmp_path: Path, made: Plans) -> None:
    for pipeline in sorted(path.stem for path in CONF.glob("pipeline/*.yaml")):
        made.clear()
        root = tmp_path / pipeline  # several pipelines have equal plans
        check_kept(notes_csv, root, [(f"pipeline={pipeline}", f"seed={seed}") for seed in (0, 7)], made)


def test_other_code_makes_its_own(
    notes_csv: Path, tmp_path: Path, made: Plans, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = composed(notes_csv, tmp_path / "store", "pipeline=baseline")
    for code, times in (("code", 1), ("other", 2), ("code", 2), ("other", 2), ("", 3), ("", 4)):
        monkeypatch.setattr(kept_plan, "running_code", lambda code=code: code)
        planned_stages(config, tmp_path)
        assert len(made) == times, code
    monkeypatch.setattr(kept_plan, "running_code", lambda: "third")
    monkeypatch.setattr(kept_plan, "may_keep", lambda: False)  # a file was edited while it was made
    planned_stages(config, tmp_path)
    planned_stages(config, tmp_path)
    assert len(made) == 6


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Return what keeps a plan of one stage, which differs as told, and returns its file."""
    spec = StageSpec(
        "teacher", "teacher", {"b": {"_target_": "clinlm.B"}, "a": 1}, None, (), "", True, True, True, (), False
    )

    def write(name: str = "name", **differences: Any) -> Path:
        path = tmp_path / kept_plan.PLANS / f"{name}.json"
        kept_plan._write(path, [replace(spec, **differences)])
        return path

    return write


def test_a_checkpoint_with_other_files_is_not_trusted(written: Callable[..., Path], tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    place = CheckpointPlace(str(folder))
    path = written(checkpoint=place, fingerprint=place.fingerprint())
    found = kept_plan._read(path)
    assert found is not None and found[0].checkpoint == place and found[0].fingerprint == place.fingerprint()
    (folder / "config.json").write_text("{ }")
    assert kept_plan._read(path) is None
    (folder / "config.json").write_text("{}")
    assert kept_plan._read(path) == found
    (folder / "more").touch()
    assert kept_plan._read(path) is None
    shutil.rmtree(folder)
    assert kept_plan._read(path) is None


def test_the_checkpoint_of_another_folder_is_another(
    written: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "checkpoint").mkdir(parents=True)
        (tmp_path / name / "checkpoint" / "config.json").write_text(name)
    monkeypatch.chdir(tmp_path / "one")
    place = CheckpointPlace("checkpoint")
    path = written(checkpoint=place, fingerprint=place.fingerprint())
    assert kept_plan._read(path) is not None
    monkeypatch.chdir(tmp_path / "two")
    assert kept_plan._read(path) is None
    monkeypatch.chdir(tmp_path)
    assert kept_plan._read(path) is None


def test_what_depends_on_more_is_not_kept(written: Callable[..., Path]) -> None:
    assert not written(texts="a digest of files").exists()
    assert not written(settings={"a": float("inf")}).exists()
    assert not written(settings={1: "no text"}).exists()
    assert not written(settings={"a": (1, 2)}).exists()
    assert not written(settings={"a": Path()}).exists()
    assert written(texts=" ").exists()


@pytest.mark.parametrize(
    ("settings", "known"),
    [
        ({"x": {"_target_": "clinlm.a.B"}, "y": [{"_target_": "callbacks.a.B"}]}, True),
        ({"x": {"_target_": "lightning.pytorch.callbacks.EarlyStopping"}}, True),
        ({"x": {"_target_": "clinlm.a.B", "y": [{"_target_": "mylab.a.B"}]}}, False),
        ({"x": {"_target_": "support.a.B"}}, False),  # of allow=[support.]
        ({"x": {"_target_": "lightning.mine.B"}}, False),
        ({"x": float("nan")}, False),
    ],
)
def test_classes_from_elsewhere_are_not_known(settings: dict[str, Any], known: bool) -> None:
    config = OmegaConf.create({"stages": {"one": settings}})
    assert (kept_plan._name(config) is not None) == known
    gate = OmegaConf.create({"stages": {"one": {}}, "gate": settings})
    assert (kept_plan._name(gate) is not None) == known


def test_names_count_order() -> None:
    one, two = ({"stages": {"one": {"callbacks": dict.fromkeys(order)}}} for order in ("ab", "ba"))
    assert one == two and kept_plan._name(OmegaConf.create(one)) != kept_plan._name(OmegaConf.create(two))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.data())
def test_no_damaged_file_is_read(written: Callable[..., Path], data: st.DataObject) -> None:
    path = written()
    whole = path.read_bytes()
    assert kept_plan._read(path) is not None
    place = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytes([whole[place] ^ data.draw(st.integers(1, 255))])
    for damaged in (whole[:place], whole[:place] + flipped + whole[place + 1 :], whole + flipped):
        path.write_bytes(damaged)
        assert kept_plan._read(path) is None
    path.write_bytes(whole)
    other = shutil.copy(path, path.with_name("other.json"))
    assert kept_plan._read(other) is None, "a file under another's name"


@pytest.mark.parametrize("changed", [{"fingerprint": "of other files"}, {"texts": "of other files"}])
def test_files_that_change_after_the_plan_stop_the_run(
    notes_csv: Path, tmp_path: Path, changed: dict[str, str]
) -> None:
    config = composed(notes_csv, tmp_path / "store", "pipeline=baseline")
    (spec,) = planned_stages(config, tmp_path)
    with pytest.raises(ConfigError, match="changed after the run began"):
        shown = None, RunProgress()
        build_stage(replace(spec, **changed), execution.open_task(config), tmp_path, (None, []), shown)


def test_data_is_read_as_it_is_now(notes_csv: Path, tmp_path: Path, made: Plans) -> None:
    """A plan holds nothing of the corpus: the folders of a kept one are those of the notes as they are now."""
    notes, root, found = tmp_path / "notes.csv", tmp_path / "store", []
    shutil.copy(notes_csv, notes)
    for _ in range(2):
        config = composed(notes, root, "pipeline=distillation")
        stages = planned_stages(config, root)
        _, key = execution.open_task(config)
        found.append(execution.planned_folders(stages, root, key))
        assert found[-1] == execution.planned_folders(planning.plan(config), root, key)
        text = notes.read_text(encoding="utf-8")
        notes.write_text(text.replace("seen today", "seen now", 1), encoding="utf-8")
    assert len(made) == 3 and not {*found[0]} & {*found[1]}


def test_only_the_last_plans_are_kept(notes_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_plan, "_MOST", 2)
    folder, first = tmp_path / "store" / kept_plan.PLANS, set[str]()
    for seed in range(3):
        planned_stages(composed(notes_csv, tmp_path / "store", f"seed={seed}"), tmp_path / "store")
        for path in folder.glob("*.json"):
            os.utime(path, ns=(path.stat().st_mtime_ns - 10**9,) * 2)
        first = first or {path.name for path in folder.glob("*.json")}
    left = {path.name for path in folder.glob("*.json")}
    assert len(left) == 2 and not first & left
