"""Laws of a pipeline: who goes on from whom, what is in a key, what is shared, reused and built again."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from support.pipelines import artifacts, composed, finished, reported, weights

from clinlm.config.errors import ModelError, TrainingError
from clinlm.models.artifact import Artifact
from clinlm.pipeline import execution
from clinlm.pipeline.plan import planned
from clinlm.pipeline.results import StageResult
from clinlm.pipeline.stage import Stage
from clinlm.store import sources
from clinlm.store.content import Damaged, sealed, verify
from clinlm.tasks.data import TaskData
from clinlm.training.modules.base import predict

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared") / "store"


@pytest.fixture(scope="module")
def c(notes_csv: Path, root: Path, quick: None) -> list[StageResult]:
    """Pipeline C, finished."""
    return finished(composed(notes_csv, root, "pipeline=c"))


def parents(artifact: Artifact) -> dict[str, Any]:
    told: dict[str, Any] = artifact.record["parents"]
    return told


def test_a_students_checkpoint_is_read_before_its_teacher_trains(notes_csv: Path, tmp_path: Path) -> None:
    config = composed(notes_csv, tmp_path / "store", "pipeline=a")
    config.student = {"_target_": "clinlm.models.initializers.pretrained.Pretrained", "name": str(tmp_path)}
    with pytest.raises(ModelError, match=f"{tmp_path} must hold a checkpoint of transformers"):
        finished(config)
    assert not list((tmp_path / "store").glob("teacher-*"))


# Who goes on from whom.


def test_every_stage_of_c_goes_on_from_the_latest_of_its_role(c: list[StageResult]) -> None:
    made = artifacts(c)
    names = ["teacher", "prune_teacher", "recover_teacher", "student", "prune_student", "recover_student"]
    assert list(made) == names and [one.role for one in c] == ["teacher"] * 3 + ["student"] * 3
    key = {name: artifact.key for name, artifact in made.items()}
    assert parents(made["teacher"]) == {"start": None, "teachers": []}
    assert parents(made["prune_teacher"]) == {"start": key["teacher"], "teachers": []}
    assert parents(made["recover_teacher"]) == {"start": key["prune_teacher"], "teachers": []}
    assert parents(made["student"]) == {"start": None, "teachers": [key["recover_teacher"]]}
    assert parents(made["prune_student"]) == {"start": key["student"], "teachers": []}
    assert parents(made["recover_student"]) == {"start": key["prune_student"], "teachers": []}
    assert [artifact.folder.name for artifact in made.values()] == [f"{name}-{key[name]}" for name in names]
    pruned = {name: reported(made[name], "prune") for name in ("prune_teacher", "prune_student")}
    widths = {name: [row.width_after for row in rows] for name, rows in pruned.items()}
    assert [name for name, one in made.items() if "prune" in one.report["methods"]] == [*pruned]
    assert widths["prune_teacher"] == [48, 48] and widths["prune_student"] == [36]


def test_what_is_there_is_reused(
    c: list[StageResult], notes_csv: Path, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        again = finished(composed(notes_csv, root, "pipeline=c", "logger=csv", "prune.skip_std=0.001"))
    assert all(one.cached for one in again) and not any(one.cached for one in c)
    assert [one.artifact for one in again] == [one.artifact for one in c]
    assert caplog.text.count("reused") == 6


def test_a_stage_that_diverges_is_named_and_not_complete(notes_csv: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"stage teacher: training diverged in epoch 1 of 2: .* got (NaN|infinity)"):
        finished(composed(notes_csv, tmp_path, "pipeline=baseline", "optimizer.learning_rate=1e30"))
    assert not any(sealed(folder) for folder in tmp_path.glob("teacher-*"))


def test_without_a_stage_the_others_close_ranks(c: list[StageResult], notes_csv: Path, root: Path) -> None:
    done = finished(composed(notes_csv, root, "pipeline=c", "~stages.recover_teacher", "~stages.recover_student"))
    made, whole = artifacts(done), artifacts(c)
    assert list(made) == ["teacher", "prune_teacher", "student", "prune_student"]
    assert [one.cached for one in done] == [True, True, False, False]
    assert parents(made["student"])["teachers"] == [whole["prune_teacher"].key]
    assert made["student"].key != whole["student"].key


def test_recovery_by_distillation_asks_the_model_before_compression(
    c: list[StageResult], notes_csv: Path, root: Path
) -> None:
    made = artifacts(finished(composed(notes_csv, root, "pipeline=c", "module@recover_module=distill")))
    assert parents(made["recover_teacher"])["teachers"] == [artifacts(c)["teacher"].key]
    assert parents(made["recover_student"])["teachers"] == [made["recover_teacher"].key]
    asked = {name for name, artifact in made.items() if list(artifact.folder.glob("logits/*.safetensors"))}
    assert {"teacher", "recover_teacher"} <= asked and not {"student", "prune_student"} & asked


def test_a_teacher_answers_once_for_all_its_students(notes_csv: Path, tmp_path: Path, asked: list[int]) -> None:
    config = composed(notes_csv, tmp_path / "store", "pipeline=a", "epochs=1")
    task, _ = execution.open_task(config)
    train, *measured = (len(task.examples.members(split)) for split in ("train", "validation", "test"))
    finished(config)
    assert asked == [*measured, train, *measured]
    asked.clear()
    finished(composed(notes_csv, tmp_path / "store", "pipeline=a", "epochs=1", "stages.student.seed=7"))
    assert asked == measured


def test_named_starts_and_teachers(c: list[StageResult], notes_csv: Path, root: Path) -> None:
    named = ("stages.student.teachers=[teacher,recover_teacher]", "stages.student.start=prune_teacher")
    kept = ("~stages.prune_student", "~stages.recover_student")
    made = artifacts(finished(composed(notes_csv, root, "pipeline=c", *named, *kept)))
    whole = artifacts(c)
    assert parents(made["student"]) == {
        "start": whole["prune_teacher"].key,
        "teachers": [whole["teacher"].key, whole["recover_teacher"].key],
    }


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (
            ["pipeline=a", "stages.student.teachers=[teacher,tacher]"],
            "stage 'student' needs teachers 'tacher', but only ['teacher'] run before it; correct "
            "stages.student.teachers",
        ),
        (
            ["pipeline=b", "stages.prune_student.start=recover_student"],
            "stage 'prune_student' needs start 'recover_student', but only ['teacher', 'student'] run before it; "
            "correct stages.prune_student.start",
        ),
        (
            ["pipeline=a", "~stages.teacher"],
            "stage 'student' needs a teacher, but no stage of role teacher runs before it",
        ),
        (
            ["pipeline=b", "~stages.student"],
            "stage 'prune_student' continues the latest stage of role 'student', but none runs before it; set "
            "stages.prune_student.start to a model or an earlier stage",
        ),
        (
            ["pipeline=baseline", "~stages.teacher"],
            "a pipeline must have stages, got none; choose one with pipeline=a|b|c|baseline",
        ),
    ],
)
def test_broken_lines_are_errors(
    c: list[StageResult], notes_csv: Path, root: Path, overrides: list[str], told: str
) -> None:
    with pytest.raises(ValueError) as raised:
        finished(composed(notes_csv, root, *overrides))
    assert str(raised.value) == told


# What is in a key.


def keys(notes: Path, root: Path, *overrides: str) -> list[str]:
    """Keys of the task, of a teacher from scratch, and of pruning and recovery of an artifact of key `parent`."""
    config = composed(notes, root, "pipeline=c", *overrides)
    _, task_key = execution.open_task(config)
    found = [task_key]
    for name in ("teacher", "prune_teacher", "recover_teacher"):
        settings = OmegaConf.to_container(config.stages[name], resolve=True)
        assert isinstance(settings, dict)
        plain = {str(key): value for key, value in settings.items() if key != "method"}
        spec = planned(name, plain, Stage.from_settings(plain), None, ())
        found.append(execution.stage_key(spec, task_key, None if name == "teacher" else "parent", []))
    return found


NOWHERE = [
    ["trainer=auto", "logger=csv", "+trainer.num_nodes=2", "report.resamples=9", "gate=low"],
    ["trainer=gpu", "logger=wandb", "stages.teacher.role=student", "student.layers=2", "distill.alpha=0.9"],
    ["device=laptop"],
]
"""Overrides of which, together, no key says anything."""
OTHER = {
    "seed=1": [1, 1, 1],
    "precision=bf16-mixed": [1, 1, 1],
    "clip=0.5": [1, 1, 1],
    "clip=null": [1, 1, 1],
    "accumulate=2": [1, 1, 1],
    "batch_size=4": [1, 1, 1],
    "epochs=3": [1, 0, 0],
    "patience=9": [1, 0, 0],
    "optimizer.learning_rate=1e-4": [1, 1, 1],
    "adapter=lora": [1, 1, 1],
    "teacher.vocabulary=160": [1, 0, 0],
    "prune.ratio=0.3": [0, 1, 0],
    "prune=magnitude": [0, 1, 0],
    "recover.epochs=2": [0, 0, 1],
    "stages.recover_teacher.epochs=2": [0, 0, 1],
    "monitor=val/micro_f1": [1, 0, 1],
    "+trainer.limit_train_batches=1": [1, 1, 1],
}
"""Override -> whether the keys of teacher, pruning and recovery change."""
OTHER_TASK = ["task.labels=3", "task.max_tokens=31", "task.seed=1", "long_notes=windows", "task.documents=40"]


def test_a_key_is_of_what_decides_the_result(notes_csv: Path, root: Path) -> None:
    base = keys(notes_csv, root)
    assert len(set(base)) == 4 and keys(notes_csv, root) == base
    for overrides in NOWHERE:
        assert keys(notes_csv, root, *overrides) == base, overrides
    found = {override: keys(notes_csv, root, override) for override in OTHER}
    for override, expected in OTHER.items():
        assert found[override][0] == base[0], override
        assert [int(a != b) for a, b in zip(found[override][1:], base[1:], strict=True)] == expected, override
    teachers = [one[1] for override, one in found.items() if OTHER[override][0]]
    assert len(set(teachers)) == len(teachers)


def test_another_task_is_another_key_of_everything(notes_csv: Path, root: Path) -> None:
    base = keys(notes_csv, root)
    for override in OTHER_TASK:
        assert all(a != b for a, b in zip(keys(notes_csv, root, override), base, strict=True)), override


def test_the_notes_count_and_not_where_they_lie(notes_csv: Path, root: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / notes_csv.name
    moved.parent.mkdir()
    shutil.copy(notes_csv, moved)
    assert keys(moved, root) == keys(notes_csv, root)
    moved.write_text(moved.read_text().replace("cough", "couhg", 1))
    assert all(a != b for a, b in zip(keys(moved, root), keys(notes_csv, root), strict=True))


def test_the_code_of_a_method_counts(notes_csv: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, definition = keys(notes_csv, root), sources._definition
    pruning = [0, 0, 1, 0]
    for changed in (("callbacks.prune.ffn", "FfnPruning"), ("clinlm.models.surgery", "keep_ffn_units")):
        spoilt = lambda *node, changed=changed: ("", ()) if node == changed else definition(*node)  # noqa: E731
        monkeypatch.setattr(sources, "_definition", spoilt)
        assert [int(a != b) for a, b in zip(keys(notes_csv, root), base, strict=True)] == pruning, changed


# What is built again.


def test_a_damaged_stage_is_built_again_to_the_same_bytes(
    c: list[StageResult], notes_csv: Path, root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copied = tmp_path / "store"
    shutil.copytree(root, copied)
    before = weights(c)
    for name, file in (("student", "model.safetensors"), ("prune_teacher", "edits.json"), ("teacher", "record.json")):
        path = copied / artifacts(c)[name].folder.name / file
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    again = finished(composed(notes_csv, copied, "pipeline=c"))
    assert {one.name for one in again if not one.cached} == {"student", "prune_teacher", "teacher"}
    assert weights(again) == before
    assert caplog.text.count("built again") == 3 and len(list(copied.glob("*.damaged-*"))) == 3


def test_every_file_of_an_artifact_is_watched(c: list[StageResult], tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(artifacts(c)["prune_student"].folder, folder)
    watched = set(verify(folder)["files"])
    assert watched | {"record.json"} == {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    for name in watched:
        path = folder / name
        content = path.read_bytes()
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        with pytest.raises(Damaged) as raised:
            verify(folder)
        assert str(path) in str(raised.value)
        path.write_bytes(content)
    assert json.loads((folder / "record.json").read_text())["key"] == artifacts(c)["prune_student"].key


# From end to end, with what the default leaves out.


@pytest.mark.parametrize(
    "overrides",
    [
        ["long_notes=windows", "task.max_tokens=12", "long_notes.most=3"],
        ["long_notes=head_tail", "task.max_tokens=12", "distill=per_label"],
        ["adapter=lora", "adapter.r=2", "adapter.dropout=0.0"],
        ["prune.statistic=activation", "prune.documents=9", "batch_size=1", "accumulate=8", "student.hidden_size=16"],
    ],
    ids=["windows", "head and tail", "lora", "activation"],
)
def test_it_runs_from_end_to_end(c: list[StageResult], notes_csv: Path, root: Path, overrides: list[str]) -> None:
    config = composed(notes_csv, root, "pipeline=b", *overrides)
    task, _ = execution.open_task(config)
    done = finished(config)
    members = task.examples.members("test")
    for one in done:
        model = one.artifact.load()
        data = TaskData(task, model.tokenizer, model.max_tokens)
        answers = torch.from_numpy(predict(model.network, data.loader(members), task.long_notes)[1])
        assert answers.shape == (len(members), 4) and answers.isfinite().all()
        assert torch.equal(answers, torch.from_numpy(one.artifact.predictions("test")))
        assert not [name for name in model.network.state_dict() if "lora" in name or "parametrizations" in name]
    if "long_notes=windows" in overrides:
        rows = [len(data.encoded.rows(document)) for document in members]
        assert max(rows) == 3 and min(rows) >= 1
