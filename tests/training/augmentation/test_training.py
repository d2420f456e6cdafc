"""Laws of learning from a transfer set: kept once, read with the documents, never counted as labelled."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import open_dict
from support.pipelines import (
    CPU,
    FAST,
    LABELS,
    artifacts,
    composed,
    factory,
    finished,
    kept,
    killed_until_done,
    weights,
)
from support.wards import opened, write

from clinlm.config.errors import ConfigError
from clinlm.models.adapters.full import Full
from clinlm.models.initializers.scratch import Scratch
from clinlm.models.model import Model
from clinlm.pipeline.building import transfer_set
from clinlm.pipeline.execution import stage_key, transfer_key
from clinlm.pipeline.plan import plan
from clinlm.pipeline.stage import Stage
from clinlm.store.content import verify
from clinlm.tasks.data import TaskData
from clinlm.tasks.multilabel import MultiLabel
from clinlm.tasks.transfer_set import TransferSet
from clinlm.training.augmentation.mixing import Mixing
from clinlm.training.augmentation.shuffle_sections import ShuffleSections
from clinlm.training.distillation import Distillation
from clinlm.training.modules.base import predict
from clinlm.training.modules.student import Student
from clinlm.training.teachers.cached_logits import teacher_logits
from clinlm.training.teachers.trained import Trained

pytestmark = pytest.mark.usefixtures("quick")
SHAPE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
SETTINGS = {"_target_": "clinlm.training.augmentation.mixing.Mixing", "times": 2}
IMITATE = factory(Student, adapter=Full(), optimizer=FAST, distill=Distillation(alpha=0.5))
PLAIN = ("pipeline=distillation", "task.labels=3")
DISTIL = (*PLAIN, "augmentation=mixing", "augmentation.times=2", "student_epochs=3")


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("notes") / "notes.csv")


@pytest.fixture
def task(notes: Path, tmp_path: Path) -> MultiLabel:
    return opened(notes, tmp_path / "store")


@pytest.fixture
def model(task: MultiLabel) -> Model:
    torch.manual_seed(0)
    return Scratch({"model_type": "bert", "max_position_embeddings": 40, **SHAPE}, vocabulary=150).begin(task, None)


# In the store.


def test_it_is_made_once(task: MultiLabel, monkeypatch: pytest.MonkeyPatch) -> None:
    made = transfer_set(Mixing(times=2), SETTINGS, task, "key")
    folder = made.folder(task.folder.parent)  # type: ignore[union-attr]
    assert verify(folder)["texts"] == len(made.texts) > 0 and folder.name == f"transfer-{made.key}"
    assert list(made.texts) == Mixing(times=2).texts(task, task.seed)
    with monkeypatch.context() as patch:
        patch.setattr(Mixing, "drafts", lambda *given: pytest.fail("it was there"))
        assert transfer_set(Mixing(times=2), SETTINGS, task, "key") == made
    (folder / "texts.parquet").write_bytes(b"")
    assert transfer_set(Mixing(times=2), SETTINGS, task, "key") == made
    assert not any(text in repr(made) for text in made.texts)


def test_keys_follow_what_decides_the_texts() -> None:
    key = transfer_key(SETTINGS, "", "key")
    assert key == transfer_key(SETTINGS | {"root": "/elsewhere"}, "", "key")
    more = SETTINGS | {"times": 3}
    assert (
        len(
            {
                key,
                transfer_key(SETTINGS, "", "other"),
                transfer_key(more, "", "key"),
                transfer_key(SETTINGS, "b", "key"),
            }
        )
        == 4
    )


def test_no_transfer_is_in_no_key(notes: Path, tmp_path: Path) -> None:
    """A stage has the key that it would have if there were no slot; with a transfer only the student has another."""
    ways = [
        ["augmentation=none"],
        ["augmentation=none"],
        ["augmentation=mixing"],
        ["augmentation=mixing", "augmentation.times=5"],
    ]
    none, absent, mixing, more = (composed(notes, tmp_path / "store", "pipeline=distillation", *way) for way in ways)
    with open_dict(absent):
        del absent.stages.student.augmentation
    keys = [
        {one.name: stage_key(one, "task", None, []) for one in plan(config)} for config in (none, absent, mixing, more)
    ]
    assert keys[0] == keys[1] and len({own["student"] for own in keys}) == 3
    assert {own["teacher"] for own in keys} == {keys[0]["teacher"]}


# Bound to a task.


def test_training_runs_over_documents_and_texts(task: MultiLabel, model: Model) -> None:
    texts = TransferSet("some", Mixing(times=1).texts(task, 0))
    total, members = len(task.examples.frame), task.examples.members("train")
    logits = torch.arange(float((total + len(texts.texts)) * 3)).view(-1, 3)
    data = TaskData(task, model.tokenizer, 32, batch_size=5, teacher_logits=logits, transfer=texts)
    seen: list[int] = []
    for batch in data.train_dataloader():
        seen += batch["index"].tolist()
        labelled = batch["index"] < total
        assert torch.equal(batch["labelled"], labelled)
        assert torch.equal(batch["teacher_logits"], logits[batch["index"]])
        assert not batch["targets"][~labelled].any()
        expected = torch.from_numpy(task.examples.targets[batch["index"][labelled].numpy()]).float()
        assert torch.equal(batch["targets"][labelled], expected)
    assert sorted(seen) == [*members.tolist(), *range(total, total + len(texts.texts))]
    alone = task.encode(model.tokenizer, 32)
    assert [[row.tolist() for row in data.encoded.rows(n)] for n in range(total)] == [
        [row.tolist() for row in alone.rows(n)] for n in range(total)
    ]
    for number, text in enumerate(texts.texts):
        (row,) = data.encoded.rows(total + number)
        assert row.tolist() == model.tokenizer(text, truncation=True, max_length=32)["input_ids"]
    assert [path.parent.name for path in texts.folder(task.folder.parent).glob("tokens/*.safetensors")] == ["tokens"]  # type: ignore[union-attr]
    for loader in (data.val_dataloader(), data.calibration(10**6)):
        assert all(batch["labelled"].all() for batch in loader)
    data = TaskData(task, model.tokenizer, 32)
    assert all("labelled" not in batch for batch in data.train_dataloader())
    assert len(data.encoded) == total


def test_teachers_answer_for_both(task: MultiLabel, model: Model, tmp_path: Path) -> None:
    texts = TransferSet("some", ShuffleSections(times=1).texts(task, 0))
    total = len(task.examples.frame)
    logits = teacher_logits([Trained(kept(model, tmp_path / "teacher"))], None, task, "32-true", texts)
    assert logits.shape == (total + len(texts.texts), 3)
    data = TaskData(task, model.tokenizer, model.max_tokens, transfer=texts)
    every = np.concatenate([task.examples.members("train"), np.arange(total, len(logits))])
    _, direct = predict(model.network, data.loader(every), task.long_notes)
    torch.testing.assert_close(logits[every], torch.from_numpy(direct))


# The loss.


def test_the_supervised_part_counts_labelled_documents_only() -> None:
    """By hand: sigmoid cross-entropy of 0 is log 2, whatever the target; of 2 it is log(1 + e^-2) where it holds."""
    student = torch.tensor([[0.0], [2.0], [5.0]], requires_grad=True)
    targets, labelled = torch.tensor([[1.0], [1.0], [0.0]]), torch.tensor([True, True, False])
    loss = Distillation(alpha=0.0).loss(student, torch.zeros(3, 1), targets, _entropy, labelled)
    assert float(loss.detach()) == pytest.approx((np.log(2) + np.log(1 + np.exp(-2))) / 2)
    loss.backward()
    assert student.grad is not None and student.grad[2] == 0 and student.grad[:2].all()


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_targets_of_texts_are_of_no_consequence(alpha: float) -> None:
    generator = torch.Generator().manual_seed(0)
    teacher, targets = torch.randn(6, 4, generator=generator), torch.randn(6, 4, generator=generator)
    labelled = torch.tensor([True, False, True, False, False, True])
    distill = Distillation(alpha=alpha, form="sigmoid")
    found = []
    for other in (targets, torch.where(labelled[:, None], targets, 7.0)):
        student = torch.randn(6, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
        loss = distill.loss(student, teacher, other, _entropy, labelled)
        loss.backward()
        found.append((loss.detach(), student.grad))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])
    hard = _entropy(student[labelled], targets[labelled])
    torch.testing.assert_close(loss, alpha * distill.soft(student, teacher) + (1 - alpha) * hard)


@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_a_batch_without_labels_is_no_error(alpha: float) -> None:
    student = torch.randn(3, 2, requires_grad=True)
    distill = Distillation(alpha=alpha)
    loss = distill.loss(student, torch.ones(3, 2), torch.zeros(3, 2), _entropy, torch.zeros(3, dtype=torch.bool))
    loss.backward()
    assert torch.equal(loss, alpha * distill.soft(student, torch.ones(3, 2)))
    assert student.grad is not None and student.grad.isfinite().all() and bool(student.grad.any()) == (alpha > 0)


def _entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, targets)


# Stages.


def test_labels_alone_have_no_transfer_set(task: MultiLabel, model: Model, notes: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="this stage learns from labels only"):
        Stage("student", LABELS, CPU, augmentation=Mixing())
    wrong = ("pipeline=baseline", "augmentation=mixing", "+stages.teacher.augmentation=${augmentation}")
    with pytest.raises(ConfigError, match="this stage learns from labels only"):
        plan(composed(notes, tmp_path / "store", *wrong))
    data = TaskData(task, model.tokenizer, 32, transfer=TransferSet("some", ["A text."]))
    module = LABELS.build(model, data, 0, None)
    with pytest.raises(ValueError, match="a stage that learns from labels alone must have no augmentation"):
        module.training_step(data.collate([0, 1]), 0)
    with pytest.raises(ValueError, match="must be given together"):
        Stage("student", IMITATE, CPU, augmentation=Mixing()).build(task, tmp_path, None, [], None)


def test_a_student_learns_from_it(notes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = tmp_path / "store"
    with caplog.at_level(logging.INFO):
        done = artifacts(finished(composed(notes, root, *DISTIL, "student_epochs=1")))
    (folder,) = root.glob("transfer-*")
    told = done["student"].report["transfer"]
    record = verify(folder)
    assert told == {"key": record["key"], "texts": record["texts"]} and "transfer" not in done["teacher"].report
    train = done["teacher"].report["steps"] * 8 / 2  # of two epochs, the last batch not full
    assert -1 < done["student"].report["steps"] - (train + told["texts"]) / 8 < 1
    assert done["student"].record["settings"]["augmentation"]["times"] == 2
    other = artifacts(finished(composed(notes, root, *PLAIN, "student_epochs=1")))
    assert other["teacher"].folder == done["teacher"].folder and other["student"].folder != done["student"].folder
    again = finished(composed(notes, root, *DISTIL, "student_epochs=1", "seed=1"))
    assert [*root.glob("transfer-*")] == [folder], "seeds of the training share it"
    assert not any(one.cached for one in again)


def test_a_killed_stage_goes_on_to_the_same_weights(
    notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch of the student has 12 steps."""
    whole = finished(composed(notes, tmp_path / "whole" / "store", *DISTIL))
    config = composed(notes, tmp_path / "killed" / "store", *DISTIL)
    kills, done = killed_until_done(lambda: finished(config), monkeypatch, 15)
    assert kills >= 2
    assert weights(done) == weights(whole)
