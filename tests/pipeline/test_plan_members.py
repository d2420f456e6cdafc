"""Laws of members: a stage stands for several that begin alike, and its name for all of them."""

from pathlib import Path
from typing import Any

import pytest
from support.pipelines import artifacts, composed, finished

from clinlm.pipeline.expansion import expand_members
from clinlm.pipeline.plan import plan
from clinlm.pipeline.stage_spec import StageSpec

pytestmark = pytest.mark.usefixtures("quick")
TWO = ("pipeline=ensemble", "members=[{},{seed:5}]")
STAGE = {"seed": 0, "start": {"_target_": "a", "name": "one", "size": 1}, "module": {"adapter": {"_target_": "full"}}}


def stages(notes: Path, root: Path, *overrides: str) -> dict[str, StageSpec]:
    return {one.name: one for one in plan(composed(notes, root / "store", *overrides))}


def test_differences_are_merged_setting_by_setting() -> None:
    different = [{}, {"seed": 3}, {"start": {"name": "two"}}, {"module": {"adapter": {"_target_": "lora", "r": 2}}}]
    found = expand_members("t", STAGE | {"members": different})
    assert [*found] == ["t_1", "t_2", "t_3", "t_4"] and found["t_1"] == STAGE
    assert found["t_2"] == STAGE | {"seed": 3}
    assert found["t_3"]["start"] == {"_target_": "a", "name": "two", "size": 1}
    assert found["t_4"]["module"] == {"adapter": {"_target_": "lora", "r": 2}}
    whole = expand_members("t", STAGE | {"members": [{"start": {"_target_": "b"}}, {}]})
    assert whole["t_1"]["start"] == {"_target_": "b"}, "another class takes none of the settings of the one before"


def test_a_single_member_is_the_stage() -> None:
    assert expand_members("t", STAGE) == expand_members("t", STAGE | {"members": [{}]}) == {"t": STAGE}
    assert expand_members("t", STAGE | {"members": [{"seed": 4}]}) == {"t": STAGE | {"seed": 4}}


@pytest.mark.parametrize("wrong", [[], {}, "teacher", [1], 3])
def test_members_are_differences(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"stages.t.members must be a list of differing settings"):
        expand_members("t", STAGE | {"members": wrong})


def test_the_same_member_twice_is_refused() -> None:
    """As when a sweep over seeds comes to the seed of a member."""
    with pytest.raises(ValueError, match=r"numbers 1 and 3 of stages.t.members have the same settings \(seed 0\)"):
        expand_members("t", STAGE | {"members": [{}, {"seed": 1}, {"seed": 0}]})
    with pytest.raises(ValueError, match=r"stages.t must have either times or members, got both"):
        expand_members("t", STAGE | {"members": [{}, {"seed": 1}], "times": 2})


def test_a_name_stands_for_all_members(notes_csv: Path, tmp_path: Path) -> None:
    found = stages(notes_csv, tmp_path, *TWO)
    assert [*found] == ["teacher_1", "teacher_2", "student"]
    assert [one.parent for one in found.values()] == [None, None, None]
    assert [found[name].open().seed for name in ("teacher_1", "teacher_2")] == [0, 5]
    assert found["student"].teachers == ("teacher_1", "teacher_2") == found["student"].teachers
    for named, expected in (
        ("teacher", ("teacher_1", "teacher_2")),
        ("teacher_2", ("teacher_2",)),
        ("teacher,tfidf", ("teacher_1", "teacher_2", "tfidf")),
    ):
        again = stages(notes_csv, tmp_path, *TWO, f"stages.student.teachers=[{named}]")
        assert again["student"].teachers == expected


def test_members_may_go_on_member_by_member(notes_csv: Path, tmp_path: Path) -> None:
    members = "stages.prune_teacher.members=[{start: teacher_1}, {start: teacher_2}]"
    pipeline = ("pipeline=c", "+stages.teacher.members=[{},{seed:5}]", f"+{members}", "~stages.recover_teacher")
    found = stages(notes_csv, tmp_path, *pipeline)
    assert [found[f"prune_teacher_{n}"].parent for n in (1, 2)] == ["teacher_1", "teacher_2"]
    assert found["student"].teachers == ("prune_teacher_1", "prune_teacher_2")


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (
            ["pipeline=c", "+stages.teacher.members=[{},{seed:1}]"],
            r"got teacher_1 and teacher_2 \(the latest of role 'teacher'\)",
        ),
        (["pipeline=pruning", "+stages.teacher.members=[{},{seed:1}]"], r"got teacher_1 and teacher_2 \('teacher'\)"),
        ([*TWO, "stages.student.teachers=[teacher,teacher_1]"], r"each once; got \['teacher_1', 'teacher_2', 't"),
        ([*TWO, "stages.student.teachers=[]"], r"must name at least one teacher.* got \[\]"),
        ([*TWO, "stages.student.teachers=[tfidf]"], "needs a teacher that is a network.*got tfidf"),
        (["pipeline=a", "+stages.tfidf=${stages.teacher}"], "must not be named 'tfidf', the TF-IDF baseline"),
    ],
)
def test_what_is_not_clear_is_refused(notes_csv: Path, tmp_path: Path, overrides: list[str], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        stages(notes_csv, tmp_path, *overrides)


def test_tfidf_alone_teaches_who_begins_by_himself(notes_csv: Path, tmp_path: Path) -> None:
    found = stages(notes_csv, tmp_path, *TWO, "stages.student.teachers=[tfidf]", "stages.student.start=${teacher}")
    assert found["student"].teachers == ("tfidf",)


def test_a_member_is_the_stage_that_stands_alone(notes_csv: Path, tmp_path: Path) -> None:
    """A teacher that another pipeline trained is a member that need not be trained."""
    root = tmp_path / "store"
    fast = ("epochs=1",)
    alone = artifacts(finished(composed(notes_csv, root, "pipeline=a", *fast)))
    both = finished(composed(notes_csv, root, *TWO, *fast))
    assert [(one.name, one.cached) for one in both] == [("teacher_1", True), ("teacher_2", False), ("student", False)]
    made = artifacts(both)
    assert made["teacher_1"] == alone["teacher"] and made["teacher_2"].folder.name.startswith("teacher-")
    assert made["student"].record["parents"]["teachers"] == [made["teacher_1"].key, made["teacher_2"].key]
    assert [one.name for one in both[2].teachers] == ["teacher_1", "teacher_2"]
    # How teachers are combined is a part of a student's key where they are several.
    other = (*fast, "ensemble=mean_probabilities")
    assert finished(composed(notes_csv, root, "pipeline=a", *other))[1].artifact == alone["student"]
    changed = finished(composed(notes_csv, root, *TWO, *other))
    assert [one.cached for one in changed] == [True, True, False]
    assert changed[2].artifact.key != made["student"].key
