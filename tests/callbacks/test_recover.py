"""Laws of recovery: zeros and shapes are kept, it says what it gained, and it knows for how long to train."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support.pipelines import FAST, built, factory, kept, reported
from torch import Tensor, nn
from torch.nn.utils import parametrize

from callbacks.base import Compression
from callbacks.prune.magnitude import Magnitude
from callbacks.recover.finetune import Finetune
from clinlm.compression.masks import KeepZeros
from clinlm.models import structure
from clinlm.models.adapters.base import Adapter
from clinlm.models.adapters.full import Full
from clinlm.models.adapters.lora import Lora
from clinlm.models.artifact import Artifact
from clinlm.models.model import Model
from clinlm.tasks.data import TaskData
from clinlm.tasks.multilabel import MultiLabel
from clinlm.training.distillation import Distillation
from clinlm.training.modules.base import predict
from clinlm.training.modules.student import Student
from clinlm.training.modules.teacher import Teacher
from clinlm.training.optimizer import AdamW

pytestmark = pytest.mark.usefixtures("quick")


def linears(model: Model) -> dict[str, Tensor]:
    return {name: m.weight.detach() for name, m in model.network.named_modules() if isinstance(m, nn.Linear)}


def halved(model: Model) -> dict[str, Tensor]:
    """Make half of the weights zero in one FFN and in one attention; returns where they are."""
    layer = structure.layers(model.network.body)[0]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for linear in (layer.up, layer.query):
            linear.weight.mul_(torch.rand(linear.weight.shape, generator=generator) < 0.5)
    return {name: weight == 0 for name, weight in linears(model).items() if (weight == 0).any()}


@pytest.mark.parametrize("adapter", [Full(), Lora(r=4, alpha=8, dropout=0.0)], ids=["full", "lora"])
@pytest.mark.parametrize("distills", [False, True])
def test_zeros_and_shapes_are_kept(
    tmp_path: Path, task: MultiLabel, tiny_model: Model, adapter: Adapter, distills: bool
) -> None:
    zeros = halved(tiny_model)
    assert len(zeros) == 2
    start = kept(tiny_model, tmp_path / "start")
    method = Finetune(epochs=2, learning_rate=1e-2)
    module = factory(Teacher, adapter=adapter, optimizer=FAST)
    if distills:
        module = factory(Student, adapter=adapter, optimizer=FAST, distill=Distillation())
    before, after = start.load(), built(tmp_path / "built", task, start, {"recover": method}, [start], module).load()
    for name, weight in linears(after).items():
        old = linears(before)[name]
        assert weight.shape == old.shape
        if name in zeros:
            assert torch.equal(weight == 0, zeros[name])
        learns = isinstance(adapter, Full) or name.endswith(("head", "query", "key", "value"))
        assert torch.equal(weight, old) != learns, name
    assert not any(parametrize.is_parametrized(m) for m in after.network.modules())
    assert after.network.state_dict().keys() == before.network.state_dict().keys()


def test_a_mask_multiplies() -> None:
    weight = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    mask = torch.tensor([[True, False], [True, True]])
    out = KeepZeros(mask)(weight)
    out.sum().backward()
    assert out.tolist() == [[1.0, 0.0], [3.0, 4.0]]
    assert weight.grad is not None and weight.grad.tolist() == [[1.0, 0.0], [1.0, 1.0]]


@pytest.mark.parametrize(("of_stage", "of_recovery", "trained"), [(0, 2, 2), (1, 2, 1), (3, 1, 3)])
def test_the_stages_epochs_count_before_the_recoverys(
    tmp_path: Path, task: MultiLabel, tiny_model: Model, of_stage: int, of_recovery: int, trained: int
) -> None:
    start = kept(tiny_model, tmp_path / "start")
    artifact = built(tmp_path / "built", task, start, {"recover": Finetune(epochs=of_recovery)}, epochs=of_stage)
    assert artifact.report["epochs"] == trained
    assert artifact.report["steps"] == trained * -(-len(task.examples.members("train")) // 8)


def test_quality_is_measured_before_and_after(tmp_path: Path, task: MultiLabel, tiny_model: Model) -> None:
    start = kept(tiny_model, tmp_path / "start")
    callbacks = {"prune": Magnitude(0.5), "recover": Finetune(epochs=2, learning_rate=5e-3)}
    artifact = built(tmp_path / "built", task, start, callbacks)
    before, after = reported(artifact, "recover")
    pruned = built(tmp_path / "pruned", task, start, {"prune": Magnitude(0.5)})
    for when, told, model in (("before", before, pruned), ("after", after, artifact)):
        assert told.when == when
        measured = task.validation_metrics(model.predictions("validation"))
        assert told.metrics == pytest.approx(measured, abs=1e-6)
    assert before != after


def test_its_learning_rates_are_its_own(tmp_path: Path, task: MultiLabel, tiny_model: Model) -> None:
    made: list[AdamW] = []

    class Watched(Teacher):  # type: ignore[misc]
        def configure_optimizers(self) -> Any:
            made.append(self.optimizer)
            return super().configure_optimizers()

    start = kept(tiny_model, tmp_path / "start")
    module = factory(Watched, adapter=Full(), optimizer=AdamW(1e-3, 1e-2, warmup=0.5, decay="linear"))
    built(tmp_path / "built", task, start, {"recover": Finetune(1, 3e-4, 4e-4)}, module=module)
    assert made == [AdamW(3e-4, 4e-4, warmup=0.5, decay="linear")]


def test_distillation_pulls_towards_the_teacher(tmp_path: Path, task: MultiLabel, tiny_model: Model) -> None:
    """A pruned model that only imitates ends nearer to the model that it was."""
    start = kept(tiny_model, tmp_path / "start")
    with torch.no_grad():
        tiny_model.network.head.weight.mul_(20)
    teacher = kept(tiny_model, tmp_path / "teacher")

    def distance(artifact: Artifact) -> float:
        answers = []
        for one in (artifact.load(), teacher.load()):
            data = TaskData(task, one.tokenizer, one.max_tokens)
            answers.append(predict(one.network, data.loader(task.examples.members("train")), task.long_notes)[1])
        return float(abs(answers[0] - answers[1]).mean())

    imitate = factory(Student, adapter=Full(), optimizer=FAST, distill=Distillation(alpha=1.0, form="sigmoid"))
    artifact = built(tmp_path / "built", task, start, {"recover": Finetune(4, 5e-3)}, [teacher], imitate)
    assert distance(artifact) < 0.7 * distance(start)


def test_distillation_without_a_teacher_says_so(tmp_path: Path, task: MultiLabel, tiny_model: Model) -> None:
    start = kept(tiny_model, tmp_path / "start")
    with pytest.raises(ValueError, match="distillation needs a teacher, got a stage without one; set its `teachers`"):
        imitate = factory(Student, adapter=Full(), optimizer=FAST, distill=Distillation())
        built(tmp_path / "built", task, start, {"recover": Finetune()}, module=imitate)


def test_a_shape_that_changes_raises(tmp_path: Path, task: MultiLabel, tiny_model: Model) -> None:
    class Cuts(Compression):
        def finalize(self, module: Any) -> None:
            Magnitude(0.5).prepare(module)

    start = kept(tiny_model, tmp_path / "start")
    with pytest.raises(RuntimeError, match="recovery must keep every shape, but these changed"):
        built(tmp_path / "built", task, start, {"prune": Cuts(), "recover": Finetune()})


@pytest.mark.parametrize("epochs", [0, -1])
def test_no_epochs_are_refused(epochs: int) -> None:
    with pytest.raises(
        ValueError, match=f"recover.epochs must be at least 1, got {epochs}; to recover nothing remove the stage"
    ):
        Finetune(epochs)


def test_the_report_is_json(tmp_path: Path, task: MultiLabel, tiny_model: Model) -> None:
    artifact = built(tmp_path / "built", task, kept(tiny_model, tmp_path / "start"), {"recover": Finetune()})
    assert json.loads((artifact.folder / "report.json").read_text()) == artifact.report
