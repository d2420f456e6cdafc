"""Laws of learning from the inside of a teacher: what is read, what learns, what is kept, what is refused."""

import copy
import json
from functools import partial
from typing import Any

import pytest
import torch
from conftest import TINY as SHAPE
from hydra.utils import instantiate
from lightning import Callback, Trainer, seed_everything
from omegaconf import OmegaConf
from support.pipelines import FAST
from tokenizers import Tokenizer
from torch import nn
from transformers import PreTrainedTokenizerFast

from callbacks.keep_best import KeepBest
from callbacks.prune.vocabulary import Vocabulary
from clinlm.config.validation import CONF
from clinlm.models import vocabulary_pruning
from clinlm.models.adapters.base import Adapter
from clinlm.models.adapters.full import Full
from clinlm.models.adapters.lora import Lora
from clinlm.models.initializers.from_teacher import FromTeacher
from clinlm.models.initializers.projected import Projected
from clinlm.models.initializers.scratch import Scratch
from clinlm.models.initializers.text_cnn import TextCnn
from clinlm.models.model import Edit, Model
from clinlm.tasks.data import TaskData
from clinlm.tasks.multilabel import MultiLabel
from clinlm.training.distillation import Distillation
from clinlm.training.hidden_state_losses.base import HiddenStateLoss
from clinlm.training.hidden_state_losses.distilbert import Distilbert
from clinlm.training.hidden_state_losses.tinybert import Tinybert
from clinlm.training.modules.general import General
from clinlm.training.modules.imitation import same_tokens
from clinlm.training.modules.student import Student
from clinlm.training.optimizer import AdamW

NAMES = sorted(path.stem for path in CONF.glob("hidden_state_loss/*.yaml") if path.stem != "none")
MAKE: dict[str, Any] = {"student": partial(Student, distill=Distillation()), "general": General}
NARROW = partial(Projected, 16, layers=2, heads=2, intermediate_size=24)
STILL = AdamW(1e-12, 1e-12)


def yaml(name: str) -> HiddenStateLoss:
    made: HiddenStateLoss = instantiate(OmegaConf.load(CONF / "hidden_state_loss" / f"{name}.yaml"))
    return made


def fit(
    kind: str,
    student: Model,
    teacher: Model | None,
    task: MultiLabel,
    hidden_state_loss: HiddenStateLoss | None = None,
    adapter: Adapter | None = None,
    callbacks: tuple[Callback, ...] = (),
    epochs: int = 1,
    **settings: Any,
) -> Any:
    seed_everything(0, verbose=False)
    logits = torch.zeros(60, 4) if kind == "student" else None
    data = TaskData(task, student.tokenizer, student.max_tokens, 8, 0, logits)
    given: dict[str, Any] = {
        "adapter": adapter or Full(),
        "optimizer": FAST,
        "hidden_state_loss": hidden_state_loss,
        "teacher": teacher,
    } | settings
    module = MAKE[kind](model=student, data=data, **given)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=list(callbacks),
    )
    trainer.fit(module.train(), datamodule=data)
    return module


@pytest.mark.parametrize("kind", sorted(MAKE))
def test_features_are_learnt(kind: str, task: MultiLabel, tiny_model: Model) -> None:
    """Projections among what learns, the teacher not; the hidden-state loss falls, and is logged by itself."""
    teacher, before = tiny_model, copy.deepcopy(tiny_model.network.state_dict())
    torch.manual_seed(0)
    student = NARROW().begin(task, teacher)
    names = set(student.network.state_dict())
    hidden_state_loss, told = Tinybert(), list[float]()

    class Tell(Callback):
        def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
            told.append(float(trainer.callback_metrics["train/hidden_state_loss"]))
            at_first.setdefault("hidden", hidden_state_loss.hidden.weight.detach().clone())
            assert trainer.callback_metrics["train/loss"] > told[-1]

    at_first: dict[str, torch.Tensor] = {}
    module = fit(kind, student, teacher, task, hidden_state_loss, callbacks=(Tell(),), epochs=4)
    assert told[-1] < 0.8 * told[0]
    assert not hidden_state_loss.hidden.weight.equal(at_first["hidden"])
    assert all(tensor.equal(before[name]) for name, tensor in teacher.network.state_dict().items())
    assert set(student.network.state_dict()) == names
    kept = set(module.state_dict())
    assert {"hidden_state_loss.hidden.weight", "hidden_state_loss.embeddings.weight"} <= kept
    assert not [name for name in kept if "teacher" in name or "_numbers" in name]


def still(model: Model) -> Model:
    """A copy without dropout."""
    copied = copy.deepcopy(model)
    for module in copied.network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return copied


def imitated(module: Any) -> float:
    """The loss of the hidden_state_loss, a mean over the epoch."""
    return float(module.trainer.callback_metrics["train/hidden_state_loss"])


@pytest.mark.parametrize("kind", sorted(MAKE))
@pytest.mark.parametrize("name", NAMES)
def test_a_student_that_is_its_teacher_imitates_it(name: str, kind: str, task: MultiLabel, tiny_model: Model) -> None:
    """It reads the same rows, masked or not, with the same mask."""
    module = fit(kind, still(tiny_model), tiny_model, task, yaml(name), optimizer=STILL)
    assert abs(imitated(module)) < 1e-5


def trimmed(model: Model, tokens: list[int]) -> Model:
    student = still(model)
    student.apply(Edit("clinlm.models.surgery.keep_tokens", {"tokens": tokens}))
    student.tokenizer = vocabulary_pruning.trim_tokenizer(model.tokenizer, tokens)
    return student


@pytest.mark.parametrize("least", [1, 3])
@pytest.mark.parametrize("kind", sorted(MAKE))
def test_a_student_with_part_of_the_vocabulary(kind: str, least: int, task: MultiLabel, tiny_model: Model) -> None:
    """The teacher reads the student's pieces under its own numbers."""
    counts = vocabulary_pruning.count_tokens(tiny_model.tokenizer, task.texts("train"))
    tokens = vocabulary_pruning.tokens_to_keep(tiny_model.tokenizer, counts, least)
    assert len(tokens) < len(tiny_model.tokenizer)
    student = trimmed(tiny_model, tokens)
    assert same_tokens(student.tokenizer, tiny_model.tokenizer).tolist() == tokens
    assert abs(imitated(fit(kind, student, tiny_model, task, Tinybert(), optimizer=STILL))) < 1e-5


def test_a_vocabulary_that_is_pruned_in_the_same_stage(task: MultiLabel, tiny_model: Model) -> None:
    student = still(tiny_model)
    module = fit("general", student, tiny_model, task, Tinybert(), optimizer=STILL, callbacks=(Vocabulary(),))
    assert len(student.tokenizer) < len(tiny_model.tokenizer)
    assert abs(imitated(module)) < 1e-5


@pytest.mark.parametrize("kind", sorted(MAKE))
def test_lora_learns_features_and_leaves_plain_modules(kind: str, task: MultiLabel, tiny_model: Model) -> None:
    student = FromTeacher([0, 2]).begin(task, tiny_model)
    before = {name: tensor.clone() for name, tensor in student.network.state_dict().items()}
    fit(kind, student, tiny_model, task, Tinybert(), Lora(r=2, alpha=4, targets=["query"]))
    after = student.network.state_dict()
    assert after.keys() == before.keys()
    changed = {name for name, tensor in after.items() if not tensor.equal(before[name])}
    head = {"head.weight", "head.bias"} if kind == "student" else set()
    assert changed == head | {name for name in after if name.endswith("query.weight")}


def test_the_best_epoch_comes_back_with_its_projections(task: MultiLabel, tiny_model: Model) -> None:
    torch.manual_seed(0)
    student, hidden_state_loss, best = NARROW().begin(task, tiny_model), Tinybert(), dict[int, torch.Tensor]()

    class Note(Callback):
        def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
            best[trainer.current_epoch] = hidden_state_loss.hidden.weight.detach().clone()

    # The largest, known when the epoch after it was validated: not the last.
    keep = KeepBest("train/hidden_state_loss", "max")
    fit("student", student, tiny_model, task, hidden_state_loss, callbacks=(Note(), keep), epochs=3)
    assert keep.epoch == 1 and hidden_state_loss.hidden.weight.equal(best[1]) and not best[1].equal(best[2])


def test_what_cannot_be_imitated_is_refused(task: MultiLabel, tiny_model: Model) -> None:
    def refused(student: Model, teacher: Model | None, told: str) -> None:
        for kind in MAKE:
            with pytest.raises(ValueError, match=told):
                fit(kind, copy.deepcopy(student), teacher, task, Distilbert())

    refused(tiny_model, None, "hidden_state_loss needs a teacher with a network, got none; name a stage in `teachers`")
    other = Scratch(SHAPE, vocabulary=120).begin(task, None)
    refused(
        tiny_model,
        other,
        r"tokens are not its teacher's; set hidden_state_loss=none, or choose a student with",
    )
    cased = copy.deepcopy(tiny_model)
    told = json.loads(tiny_model.tokenizer.backend_tokenizer.to_str())
    told["normalizer"]["lowercase"] = False
    cased.tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(told)), **tiny_model.tokenizer.special_tokens_map
    )
    refused(cased, tiny_model, "they normalize text differently")
    short = copy.deepcopy(tiny_model)
    short.network.body.config.max_position_embeddings = 16  # type: ignore[union-attr]
    refused(
        tiny_model,
        short,
        "which reads at most 16 tokens, got rows of up to 32; set task.max_tokens=16, or hidden_state_loss=none",
    )
    convolution = TextCnn(8, filters=4).begin(task, tiny_model)
    with pytest.raises(ValueError, match="needs known encoder layers; the student is a TextCnn"):
        fit("student", convolution, tiny_model, task, Distilbert())
    with pytest.raises(ValueError, match=r"a hidden state for every token.*got a TextCnnModel; remove the stage"):
        fit("general", convolution, None, task)
