"""Laws of training and of asking a network: what is learnt, in which order answers come, what a seed decides."""

import copy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Trainer, seed_everything
from torch import Tensor
from torch.nn import functional

from clinlm.config.errors import TrainingError
from clinlm.corpora.table import Table
from clinlm.models.adapters.base import Adapter
from clinlm.models.adapters.full import Full
from clinlm.models.adapters.lora import Lora
from clinlm.models.model import Model
from clinlm.tasks.data import TaskData
from clinlm.tasks.multilabel import MultiLabel
from clinlm.text.long_notes import Windows
from clinlm.training.distillation import Distillation
from clinlm.training.modules.base import document_logits, predict
from clinlm.training.modules.student import Student, distilling
from clinlm.training.modules.teacher import Teacher
from clinlm.training.optimizer import AdamW

FAST = AdamW(1e-3, 1e-2, warmup=0.0)


@pytest.fixture(scope="module")
def windowed(notes_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> MultiLabel:
    corpus = partial(Table, text="text", labels="labels", id="id", group="group", delimiter=";")
    task = MultiLabel(corpus, str(notes_csv), Windows(), labels=4, max_tokens=12, shares=(0.6, 0.2, 0.2))
    task.open(tmp_path_factory.mktemp("store"), "key")
    return task


def fit(model: Model, task: MultiLabel, adapter: Adapter, epochs: int = 3, **settings: Any) -> Teacher:
    seed_everything(0, verbose=False)
    data = TaskData(task, model.tokenizer, model.max_tokens, batch_size=4)
    module = Teacher(model, data, adapter, FAST, **settings)
    train(module, epochs)
    return module


def train(module: Any, epochs: int) -> None:
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module.train(), datamodule=module.data)


def training_loss(model: Model, task: MultiLabel) -> float:
    data = TaskData(task, model.tokenizer, model.max_tokens)
    index, logits = predict(model.network, data.loader(task.examples.members("train")), task.long_notes)
    return float(task.loss(torch.from_numpy(logits), torch.from_numpy(task.examples.targets[index]).float()))


def test_answers_come_by_document_number_and_equal_those_one_by_one(
    task: MultiLabel, windowed: MultiLabel, tiny_model: Model
) -> None:
    documents = np.random.default_rng(0).permutation(60)[:25]
    for one in (task, windowed):
        data = TaskData(one, tiny_model.tokenizer, tiny_model.max_tokens)
        advanced: list[int] = []
        index, logits = predict(tiny_model.network, data.loader(documents, 4), one.long_notes, advanced.append)
        assert index.tolist() == sorted(documents.tolist())
        assert advanced == [4] * 6 + [1]
        for number, row in zip(index.tolist(), logits, strict=True):
            _, alone = predict(tiny_model.network, data.loader(np.array([number]), 1), one.long_notes)
            np.testing.assert_allclose(alone[0], row, rtol=1e-4, atol=1e-5)
    assert data.collate([int(data.encoded.lengths().argmax())])["input_ids"].shape[0] > 1


def test_asking_leaves_mode_and_gradients_as_they_were(task: MultiLabel, tiny_model: Model) -> None:
    data = TaskData(task, tiny_model.tokenizer, tiny_model.max_tokens)
    for training in (True, False):
        tiny_model.network.train(training)
        loader = data.loader(np.arange(8))
        first, again = (predict(tiny_model.network, loader, task.long_notes)[1] for _ in "ab")
        np.testing.assert_array_equal(first, again)  # no dropout
        assert tiny_model.network.training == training
    assert all(p.grad is None for p in tiny_model.network.parameters())


def test_a_document_is_the_maximum_of_its_windows(windowed: MultiLabel, tiny_model: Model) -> None:
    data = TaskData(windowed, tiny_model.tokenizer, tiny_model.max_tokens)
    batch = data.collate(range(8))
    network = tiny_model.network.eval()
    with torch.no_grad():
        pooled = document_logits(network, batch, windowed.long_notes)
        for number in range(8):
            rows = [torch.tensor(row[None].astype(np.int64)) for row in data.encoded.rows(number)]
            alone = torch.cat([network(row, torch.ones_like(row)) for row in rows])
            assert torch.allclose(pooled[number], alone.amax(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("adapter", [Full(), Lora(r=4, alpha=8)], ids=["full", "lora"])
def test_training_learns_and_leaves_plain_modules(task: MultiLabel, tiny_model: Model, adapter: Adapter) -> None:
    before = copy.deepcopy(tiny_model)
    data = TaskData(task, tiny_model.tokenizer, tiny_model.max_tokens)
    at_first = training_loss(tiny_model, task)
    module = fit(tiny_model, task, adapter)
    assert training_loss(tiny_model, task) < at_first
    assert [n for n, _ in tiny_model.network.named_modules()] == [n for n, _ in before.network.named_modules()]
    state = before.network.state_dict()
    changed = {n for n, tensor in tiny_model.network.state_dict().items() if not tensor.equal(state[n])}
    assert any(name.startswith("body.") for name in changed)
    assert {"head.weight", "head.bias"} <= changed
    if isinstance(adapter, Lora):
        assert "body.embeddings.word_embeddings.weight" not in changed
    logged = module.trainer.callback_metrics
    index, logits = predict(tiny_model.network, data.loader(task.examples.members("validation")), task.long_notes)
    metrics = task.validation_metrics(logits)
    for name in ("micro_f1", "macro_f1"):
        assert float(logged[f"val/{name}"]) == pytest.approx(metrics[name], abs=1e-4)


def test_the_seed_decides_the_training(task: MultiLabel, tiny_model: Model) -> None:
    ends = []
    for seed in (0, 0, 1):
        model = copy.deepcopy(tiny_model)
        fit(model, task, Full(), epochs=1, seed=seed)  # dropout alone differs: the order of documents is the task's
        ends.append(model.network.head.weight.detach())
    assert ends[0].equal(ends[1])
    assert not ends[0].equal(ends[2])


def test_zero_epochs_train_nothing(task: MultiLabel, tiny_model: Model) -> None:
    before = copy.deepcopy(tiny_model.network.state_dict())
    fit(tiny_model, task, Full(), epochs=0)
    assert all(tensor.equal(before[name]) for name, tensor in tiny_model.network.state_dict().items())


def test_a_teachers_objective_is_the_tasks_loss(task: MultiLabel, tiny_model: Model) -> None:
    data = TaskData(task, tiny_model.tokenizer, tiny_model.max_tokens)
    batch = data.collate(range(5))
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    module = Teacher(tiny_model, data, Full(), FAST)
    expected = functional.binary_cross_entropy_with_logits(logits, batch["targets"])
    assert module.objective(logits, batch).equal(expected)


def test_a_student_learns_from_its_teacher(task: MultiLabel, tiny_model: Model) -> None:
    """With alpha = 1 the labels count for nothing: the student comes near logits that have nothing to do with them."""
    teacher = torch.randn(1, 4, generator=torch.Generator().manual_seed(0)).mul(3).expand(60, 4).contiguous()
    distill = Distillation(alpha=1.0, form="sigmoid")

    def distance() -> float:
        index, logits = predict(tiny_model.network, data.loader(np.arange(60)), task.long_notes)
        return float(distill.soft(torch.from_numpy(logits), teacher[index]))

    seed_everything(0, verbose=False)
    data = TaskData(task, tiny_model.tokenizer, tiny_model.max_tokens, batch_size=4, teacher_logits=teacher)
    before = distance()
    train(Student(tiny_model, data, Full(), FAST, distill), epochs=4)
    assert distance() < 0.5 * before


def test_a_students_objective_is_the_mixture(task: MultiLabel) -> None:
    logits, teacher = (torch.randn(5, 4, generator=torch.Generator().manual_seed(n)) for n in (0, 1))
    batch: dict[str, Tensor] = {"targets": torch.ones(5, 4), "teacher_logits": teacher}
    distill = Distillation(0.4, 2.0)
    expected = distill.loss(logits, teacher, batch["targets"], functional.binary_cross_entropy_with_logits)
    assert distilling(distill, task)(logits, batch).equal(expected)
    with pytest.raises(ValueError, match="distillation needs a teacher, got a stage without one"):
        distilling(distill, task)(logits, {"targets": batch["targets"]})


def test_a_training_that_diverges_says_where(task: MultiLabel, tiny_model: Model) -> None:
    data = TaskData(task, tiny_model.tokenizer, tiny_model.max_tokens, batch_size=4)
    with torch.no_grad():
        tiny_model.network.head.weight[0, 0] = torch.nan  # as the last update of an epoch may leave it
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False)
    with pytest.raises(TrainingError, match="logits on validation must be finite, got NaN; lower the learning rate"):
        trainer.validate(Teacher(tiny_model, data, Full(), FAST), datamodule=data)
    with pytest.raises(TrainingError, match=r"diverged in epoch 1 of 3: the loss in step 1 must be finite, got NaN"):
        fit(tiny_model, task, Full())
