"""Laws of a plan: steps reach the ratio, stages without a method are left out, techniques are what was done."""

import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.pipelines import artifacts, composed, finished, reported

from clinlm.config.usage import left_out
from clinlm.config.validation import CONF
from clinlm.pipeline import gate_policy
from clinlm.pipeline.expansion import expand_steps, step_ratio
from clinlm.pipeline.gates import TECHNIQUES
from clinlm.pipeline.plan import plan
from clinlm.pipeline.results import GateFailed
from clinlm.pipeline.stage_spec import StageSpec

pytestmark = pytest.mark.usefixtures("quick")
PIPELINES = sorted(path.stem for path in CONF.glob("pipeline/*.yaml"))
MAGNITUDE = {"_target_": "callbacks.prune.magnitude.Magnitude", "ratio": 0.3}
UNSTRUCTURED = {"_target_": "callbacks.prune.unstructured.Unstructured", "ratio": 0.3}


@cache
def stages(notes: Path, *overrides: str) -> list[StageSpec]:
    """Return the plan; nothing is written."""
    return plan(composed(notes, notes.parent / "run" / "store", *overrides))


def names(planned_stages: list[StageSpec]) -> list[str]:
    return [one.name for one in planned_stages]


# Several steps.


@given(st.floats(0.01, 0.99), st.integers(1, 12))
def test_the_shares_reach_the_ratio_and_are_equal(ratio: float, steps: int) -> None:
    cut = [step_ratio(ratio, step, steps, counts_zeros=False) for step in range(1, steps + 1)]
    assert math.prod(1 - one for one in cut) == pytest.approx(1 - ratio, abs=1e-9) and len(set(cut)) == 1
    zeros = [step_ratio(ratio, step, steps, counts_zeros=True) for step in range(1, steps + 1)]
    assert zeros[-1] == pytest.approx(ratio, abs=1e-9) and zeros == sorted(zeros)
    for before, after in zip(zeros, zeros[1:], strict=False):
        assert (1 - after) / (1 - before) == pytest.approx(1 - cut[0], abs=1e-6)


def test_the_loop_of_the_source_ends_short_of_its_ratio() -> None:
    """torch's structured pruning takes its amount of the filters that are left: 6 % five times are not 30 %."""
    assert 1 - (1 - 0.3 / 5) ** 5 == pytest.approx(0.266, abs=1e-3)
    assert 1 - (1 - step_ratio(0.3, 1, 5, counts_zeros=False)) ** 5 == pytest.approx(0.3)


def test_a_stage_done_several_times_is_several_stages() -> None:
    settings = {"start": "teacher", "times": 3, "callbacks": {"prune": MAGNITUDE, "other": {"_target_": "x"}}}
    found = expand_steps("prune", settings)
    assert [*found] == ["prune_1", "prune_2", "prune_3"] and settings["times"] == 3
    assert [one["start"] for one in found.values()] == ["teacher", "prune_1", "prune_2"]
    assert all("times" not in one and one["callbacks"]["other"] == {"_target_": "x"} for one in found.values())
    assert {one["callbacks"]["prune"]["ratio"] for one in found.values()} == {step_ratio(0.3, 1, 3, False)}
    masked = expand_steps("prune", settings | {"callbacks": {"prune": UNSTRUCTURED}}).values()
    assert [one["callbacks"]["prune"]["ratio"] for one in masked] == [step_ratio(0.3, n, 3, True) for n in (1, 2, 3)]
    assert expand_steps("once", {"start": None}) == {"once": {"start": None}}


@pytest.mark.parametrize("times", [0, -1, 1.5, "3", True])
def test_a_number_of_steps_is_a_number_from_one_on(times: Any) -> None:
    with pytest.raises(ValueError, match="stages.prune.times must be .*; set steps"):
        expand_steps("prune", {"times": times, "callbacks": {"prune": MAGNITUDE}})


@pytest.mark.parametrize(
    ("target", "remaining"), [("bytes:4e6", [3, 2, 1]), ("latency_ms:2.0", [3, 2, 1]), ("parameters:50%", [3, 3, 3])]
)
def test_steps_share_out_a_target(target: str, remaining: list[int]) -> None:
    """A share is of what a step finds; a number is the same for all, and fewer steps remain to it."""
    structured = {"_target_": "callbacks.prune.structured.Structured", "target": target}
    found = expand_steps("prune", {"start": None, "times": 3, "callbacks": {"prune": structured}}).values()
    assert [one["callbacks"]["prune"] for one in found] == [structured | {"remaining": left} for left in remaining]


def test_iterative_pruning_reaches_its_target(notes_csv: Path, tmp_path: Path) -> None:
    settings = ("pipeline=pruning_iterative", "prune=structured", "prune.documents=8", "steps=2", "epochs=1")
    made = artifacts(finished(composed(notes_csv, tmp_path / "store", *settings)))
    first, middle, last = (made[name].report["parameters"] for name in ("teacher", "prune_1", "prune_2"))
    assert 0.45 * first < last <= 0.5 * first < middle <= 0.5**0.5 * first


def test_a_student_is_pruned_while_it_learns(notes_csv: Path, tmp_path: Path) -> None:
    stages = "+stage@stages.prune_student=prune_distill"
    settings = (
        "pipeline=a",
        stages,
        "prune=structured",
        "prune.documents=8",
        "prune.target=parameters:60%",
        "epochs=1",
    )
    made = artifacts(finished(composed(notes_csv, tmp_path / "store", *settings)))
    assert made["prune_student"].report["parameters"] <= 0.6 * made["student"].report["parameters"]
    parents = made["prune_student"].record["parents"]
    assert made["student"].key in str(parents) and made["teacher"].key in str(parents)


def test_steps_need_a_ratio(notes_csv: Path) -> None:
    with pytest.raises(ValueError, match="must prune by a ratio or to a target, .*stages.prune"):
        expand_steps("prune", {"times": 2, "callbacks": {"prune": {"_target_": MAGNITUDE["_target_"]}}})


@pytest.mark.parametrize("prune", ["magnitude", "unstructured"])
def test_iterative_pruning_reaches_its_ratio(notes_csv: Path, tmp_path: Path, prune: str) -> None:
    settings = ("pipeline=pruning_iterative", f"prune={prune}", "prune.ratio=0.5", "steps=2", "epochs=1")
    made = artifacts(finished(composed(notes_csv, tmp_path / "store", *settings)))
    assert [*made] == ["teacher", "prune_1", "prune_2"]
    for before, after in zip(["teacher", "prune_1"], ["prune_1", "prune_2"], strict=True):
        assert made[after].record["parents"]["start"] == made[before].key
        assert made[after].report["epochs"] == 1 and "recover" in made[after].report["methods"], "it recovers each time"
    rows = reported(made["prune_2"], "prune")
    if prune == "magnitude":
        assert [row.width_after for row in rows] == [32, 32], "half of 64"
    else:
        assert sum(row.zeros for row in rows) == round(0.5 * sum(row.weights for row in rows))
    again = finished(composed(notes_csv, tmp_path / "store", *settings, "logger=csv"))
    assert all(one.cached for one in again), "keys are the same"
    longer = finished(composed(notes_csv, tmp_path / "store", *settings, "steps=1"))
    assert [(one.name, one.cached) for one in longer] == [("teacher", True), ("prune_1", False)]


def test_the_name_of_several_stages_is_that_of_the_last(notes_csv: Path) -> None:
    found = stages(notes_csv, "pipeline=edge", "stages.student.teachers=[prune_teacher]")
    assert names(found) == ["teacher", "prune_teacher_1", "prune_teacher_2", "prune_teacher_3", "student", "quantize"]
    assert found[4].teachers == ("prune_teacher_3",) and found[1].parent == "teacher"
    assert [one.role for one in found] == ["teacher"] * 4 + ["student"] * 2


# Left out.


def test_a_stage_without_its_method_is_left_out(notes_csv: Path, tmp_path: Path) -> None:
    config = composed(notes_csv, tmp_path / "store", "pipeline=edge", "quantize=none")
    assert left_out(config) == {"quantize": "quantize"}
    assert names(plan(config))[-1] == "student"
    config = composed(notes_csv, tmp_path / "store", "pipeline=edge", "stages.prune_teacher.callbacks.prune=null")
    assert left_out(config) == {"prune_teacher": "prune"} and names(plan(config)) == [
        "teacher",
        "student",
        "quantize",
    ]
    config = composed(notes_csv, tmp_path / "store", "pipeline=pruning", "stages.recover.callbacks.recover=null")
    assert left_out(config) == {"recover": "recover", "quantize": "quantize"} and names(plan(config)) == [
        "teacher",
        "prune",
    ]


def test_another_callback_that_is_null_is_merely_none(notes_csv: Path, tmp_path: Path) -> None:
    config = composed(notes_csv, tmp_path / "store", "pipeline=baseline", "training.early_stopping=null")
    (teacher,) = plan(config)
    assert [*left_out(config)] == ["quantize"] and "early_stopping" not in (teacher.open().callbacks or {})
    steps = stages(notes_csv, "pipeline=pruning_iterative", "stages.prune.callbacks.recover=null")
    assert names(steps)[1:] == ["prune_1", "prune_2", "prune_3"]


def test_who_goes_on_from_what_is_left_out_is_told(notes_csv: Path) -> None:
    left = ("stages.prune.callbacks.prune=null", "stages.recover.start=prune")
    with pytest.raises(ValueError, match=r"'recover' needs start 'prune', which is left out \(prune=none\); remove"):
        stages(notes_csv, "pipeline=pruning", *left)


# Techniques.


def test_every_pipeline_has_techniques_that_a_gate_knows(notes_csv: Path) -> None:
    for name in PIPELINES:
        found = stages(notes_csv, f"pipeline={name}")
        used = gate_policy.techniques(found)
        assert {one for own in used.values() for one in own} <= set(TECHNIQUES), name
        first = gate_policy.find_original(found)
        assert first in ("teacher", "teacher_1") and not used[first]
        judged = gate_policy.judged_stages(found)
        assert first not in judged and (len(found) == 1 or found[-1].name in judged), name


def test_techniques_of_the_edge(notes_csv: Path) -> None:
    found = stages(notes_csv, "pipeline=edge", "steps=2")
    pruned = ("iterative_pruning",)
    own = {"prune_teacher_1": pruned, "prune_teacher_2": pruned, "student": ("distillation",)}
    assert gate_policy.techniques(found) == {"teacher": (), **own, "quantize": ("quantization_aware_training",)}
    everything = ("iterative_pruning", "distillation", "quantization_aware_training")
    assert gate_policy.inherited_techniques(found)["quantize"] == everything
    assert gate_policy.judged_stages(found) == {"prune_teacher_1", "prune_teacher_2", "student", "quantize"}


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["pipeline=pruning_iterative", "steps=1"], "pruning"),
        (["pipeline=pruning_iterative", "steps=2"], "iterative_pruning"),
        (["pipeline=pruning_iterative", "stages.prune.callbacks.recover=null"], "pruning"),
        (["pipeline=pruning"], "pruning"),
        (["pipeline=pruning_gradual"], "iterative_pruning"),
        (["pipeline=pruning_gradual", "schedule=one_shot"], "pruning"),
        (["pipeline=c"], "pruning"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, list) else one,
)
def test_pruning_is_iterative_where_its_line_recovers_in_between(
    notes_csv: Path, overrides: list[str], expected: str
) -> None:
    used = gate_policy.techniques(stages(notes_csv, *overrides))
    assert {own for name, found in used.items() for own in found if "prun" in own} == {expected}


def test_what_is_recovered_is_judged_after_it(notes_csv: Path) -> None:
    found = stages(notes_csv, "pipeline=c")
    assert gate_policy.judged_stages(found) == {"recover_teacher", "student", "recover_student"}
    cut = stages(notes_csv, "pipeline=c", "~stages.recover_student")
    assert gate_policy.judged_stages(cut) == {"recover_teacher", "student", "prune_student"}, (
        "the last is always judged"
    )
    assert gate_policy.judged_stages(stages(notes_csv, "pipeline=low_rank")) == {"low_rank"}
    assert gate_policy.techniques(stages(notes_csv, "pipeline=low_rank"))["low_rank"] == ()


@pytest.mark.parametrize(
    ("gate", "name"),
    [("critical", "quantization_static"), ("critical", "edge"), ("high", "pruning"), ("medium", "quantization")],
)
def test_what_a_gate_does_not_allow_is_refused(notes_csv: Path, tmp_path: Path, gate: str, name: str) -> None:
    with pytest.raises(
        GateFailed, match=f"gate {gate} does not allow.*nothing was trained; .*=quantization_qat"
    ) as raised:
        plan(composed(notes_csv, tmp_path / "store", f"pipeline={name}", f"gate={gate}"))
    assert not raised.value.done and raised.value.verdicts and all(one.refused for one in raised.value.verdicts)


@pytest.mark.parametrize(
    ("gate", "name"), [("critical", "quantization_qat"), ("high", "pruning_iterative"), ("low", "c")]
)
def test_what_a_gate_allows_is_planned(notes_csv: Path, tmp_path: Path, gate: str, name: str) -> None:
    assert plan(composed(notes_csv, tmp_path / "store", f"pipeline={name}", f"gate={gate}"))


def test_the_edge_is_allowed_from_medium_on(notes_csv: Path, tmp_path: Path) -> None:
    assert plan(composed(notes_csv, tmp_path / "store", "pipeline=edge", "gate=medium"))


@pytest.mark.parametrize("name", TECHNIQUES)
def test_what_a_gate_allows_instead_does_that_and_nothing_else(notes_csv: Path, name: str) -> None:
    used = gate_policy.techniques(stages(notes_csv, *TECHNIQUES[name].split())).values()
    assert {one for own in used for one in own} == {name}


def test_an_original_is_not_compressed(notes_csv: Path, tmp_path: Path) -> None:
    """Otherwise it would be judged by no gate, and the others against it."""
    pruned = ("pipeline=baseline", "stages.teacher.callbacks={prune: '${prune}'}")
    config = composed(notes_csv, tmp_path / "store", *pruned, "gate=low")
    with pytest.raises(ValueError, match=r"'teacher' is itself compressed \(pruning\); compress in a later stage"):
        plan(config)
    assert plan(composed(notes_csv, tmp_path / "store", *pruned))


def test_a_gate_needs_an_original(notes_csv: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="first stage of role teacher; the pipeline has none"):
        config = composed(notes_csv, tmp_path / "store", "pipeline=baseline", "gate=low", "stages.teacher.role=student")
        plan(config)
