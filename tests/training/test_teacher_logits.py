"""Laws of teaching: every member is asked once, they are combined as one, and a member alone is itself."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from support.pipelines import built, kept
from torch import Tensor

from clinlm.models.artifact import Artifact
from clinlm.models.model import Model
from clinlm.tasks.data import TaskData
from clinlm.tasks.multilabel import MultiLabel
from clinlm.tasks.transfer_set import TransferSet
from clinlm.training.modules.base import predict
from clinlm.training.teachers import cached_logits
from clinlm.training.teachers.best_per_label import BestPerLabel
from clinlm.training.teachers.cached_logits import teacher_logits
from clinlm.training.teachers.learned import Learned
from clinlm.training.teachers.mean_probabilities import MeanProbabilities
from clinlm.training.teachers.trained import Trained

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def start(tmp_path: Path, tiny_model: Model) -> Artifact:
    return kept(tiny_model, tmp_path / "start")


@pytest.fixture
def teachers(tmp_path: Path, task: MultiLabel, start: Artifact) -> list[Artifact]:
    made = [built(tmp_path / f"teacher{seed}", task, start, {}, epochs=1, seed=seed) for seed in (0, 1)]
    assert made[0].predictions("test").tolist() != made[1].predictions("test").tolist()
    return made


def taught(teachers: list[Artifact], task: MultiLabel, precision: str = "32-true") -> Tensor:
    return teacher_logits([Trained(one) for one in teachers], None, task, precision)


def test_teachers_are_asked_once_and_averaged(task: MultiLabel, teachers: list[Artifact], asked: list[int]) -> None:
    train = task.examples.members("train")
    each = [taught([one], task) for one in teachers]
    both = taught(teachers, task)
    assert asked == [len(train)] * 2
    torch.testing.assert_close(both, (each[0] + each[1]) / 2)
    elsewhere = np.setdiff1d(np.arange(60), train)
    assert not both[elsewhere].any()
    for one, logits in zip(teachers, each, strict=True):
        model = one.load()
        data = TaskData(task, model.tokenizer, model.max_tokens)
        _, direct = predict(model.network, data.loader(train), task.long_notes)
        torch.testing.assert_close(logits[train], torch.from_numpy(direct))
        (cache,) = (one.folder / "logits").glob("*.safetensors")
        assert task.folder is not None and cache.name == f"{task.folder.name}-32-true.safetensors"


@pytest.mark.parametrize("byte", [-1, 5, 60])
def test_damaged_logits_are_computed_again(
    task: MultiLabel, teachers: list[Artifact], asked: list[int], byte: int
) -> None:
    """In the numbers, in the header, in the length of the header."""
    before = taught(teachers[:1], task)
    (cache,) = (teachers[0].folder / "logits").glob("*.safetensors")
    content = bytearray(cache.read_bytes())
    content[byte] ^= 1
    cache.write_bytes(content)
    torch.testing.assert_close(taught(teachers[:1], task), before)
    assert len(asked) == 2 and cache.read_bytes() != content


def test_other_precisions_are_other_logits(task: MultiLabel, teachers: list[Artifact]) -> None:
    exact, rounded = (taught(teachers[:1], task, precision) for precision in ("32-true", "bf16-mixed"))
    assert not torch.equal(exact, rounded)
    torch.testing.assert_close(exact, rounded, rtol=0.1, atol=0.05)


# As one.


TEXTS = TransferSet("k1", ("fever and cough today", "wheeze", "the cast holds ; fall last week " * 20))


def test_eight_teachers_cost_a_student_what_one_does(
    task: MultiLabel, teachers: list[Artifact], asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    members = [Trained(teachers[number % 2], f"teacher_{number}") for number in range(8)]
    first = teacher_logits(members, MeanProbabilities(), task, "32-true", TEXTS)
    train = len(task.examples.members("train"))
    assert sorted(asked) == [3, 3, train, train], "each model once, whoever asks"
    monkeypatch.setattr(Artifact, "load", lambda one: pytest.fail("its answers are there"))
    assert teacher_logits(members, MeanProbabilities(), task, "32-true", TEXTS).equal(first)
    assert first.shape == (60 + 3, 4) == (len(task.examples.frame) + 3, task.outputs)


def test_transfer_texts_are_answered_as_documents_are(task: MultiLabel, teachers: list[Artifact]) -> None:
    """The texts of training documents as a transfer set get what the documents get, in their order."""
    members = [Trained(one) for one in teachers]
    again = TransferSet("k2", task.texts("train"))
    found = teacher_logits(members, None, task, "32-true", again)
    torch.testing.assert_close(found[60:], found[task.examples.members("train")], atol=1e-5, rtol=1e-5)
    other = teacher_logits(members, None, task, "32-true", TEXTS)
    assert other[:60].equal(found[:60]) and len(other) == 63, "another transfer set is cached beside it"


def test_an_ensemble_is_fitted_on_validation_alone(
    task: MultiLabel, teachers: list[Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    members = [Trained(one) for one in teachers]
    seen: list[str] = []
    measured = Trained.split_logits

    def watched(self: Trained, task: MultiLabel, split: str) -> np.ndarray:
        seen.append(split)
        return measured(self, task, split)  # type: ignore[arg-type]

    monkeypatch.setattr(Trained, "split_logits", watched)
    for ensemble in (Learned(), BestPerLabel()):
        rule = cached_logits.fit_combination(members, ensemble, task)
        validation = np.stack([one.predictions("validation") for one in teachers])
        targets = task.examples.targets[task.examples.members("validation")]
        np.testing.assert_array_equal(rule.weights, ensemble.fit(validation, targets, task.kind).weights)
    assert set(seen) == {"validation"}


def test_a_member_alone_is_itself_to_the_bit(task: MultiLabel, teachers: list[Artifact]) -> None:
    alone = teacher_logits([Trained(teachers[0])], MeanProbabilities(), task, "32-true")
    assert alone.equal(taught(teachers[:1], task))
    with pytest.raises(ValueError, match="an ensemble must have a member"):
        teacher_logits([], None, task, "32-true")


def test_what_students_learn_from_is_the_ensemble(task: MultiLabel, teachers: list[Artifact]) -> None:
    members: Sequence[Trained] = [Trained(one) for one in teachers]
    found = teacher_logits(members, MeanProbabilities(), task, "32-true").sigmoid()
    each = [taught([one], task).sigmoid() for one in teachers]
    train = task.examples.members("train")
    torch.testing.assert_close(found[train], (each[0] + each[1])[train] / 2)
