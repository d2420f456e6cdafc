"""What comes after pruning to a target: integers, engines, more of it; and what it must not become."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY
from hydra.utils import instantiate
from omegaconf import OmegaConf
from support.pipelines import FAST, built, kept, reported
from torch import nn

from callbacks.prune.structured import Structured
from callbacks.recover.finetune import Finetune
from clinlm.compression.costs import Architecture
from clinlm.compression.cutting import select_parts, slice_to
from clinlm.compression.importance import calibration_batches, measure_importance
from clinlm.compression.reconstruction import reconstruct
from clinlm.config.validation import CONF
from clinlm.engines.base import find_engine
from clinlm.models import structure
from clinlm.models.adapters.full import Full
from clinlm.models.artifact import Artifact
from clinlm.models.initializers.scratch import Scratch
from clinlm.models.model import Model
from clinlm.models.size import count_parameters
from clinlm.tasks.data import TaskData
from clinlm.tasks.entities import Entities
from clinlm.tasks.multilabel import MultiLabel
from clinlm.training.modules.base import predict
from clinlm.training.modules.teacher import Teacher

pytestmark = pytest.mark.usefixtures("quick", "graphs")
QUANTIZE = sorted(path.stem for path in CONF.glob("quantize/*.yaml") if path.stem != "none")


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, task: MultiLabel, _tiny_model: Model, quick: None
) -> dict[str, Artifact]:
    """A start, and what is left of it: little."""
    root = tmp_path_factory.mktemp("made")
    start = kept(copy.deepcopy(_tiny_model), root / "start")
    return {
        "start": start,
        "little": built(root / "little", task, start, {"prune": Structured("parameters:9000", documents=16)}),
    }


@pytest.mark.parametrize(
    ("hidden", "layer"), [(32, (1, 48)), (32, (2, 16)), (20, (2, 48))], ids=["heads", "units", "hidden dimensions"]
)
def test_what_is_left_comes_nearer_to_the_whole(
    task: MultiLabel, tiny_model: Model, hidden: int, layer: tuple[int, int]
) -> None:
    with torch.no_grad():
        for parameter in tiny_model.network.parameters():  # so that what is cut had something to say
            parameter.mul_(3.0 if parameter.ndim == 2 else 1.0)
    data = TaskData(task, tiny_model.tokenizer, 32)
    module = Teacher(tiny_model, data, Full(), FAST)
    batches = calibration_batches(module, 36)
    stays = select_parts(
        measure_importance(module, 16), Architecture.read(tiny_model.network), Architecture(hidden, None, [layer] * 4)
    )
    loader = data.loader(task.examples.members("test"))
    whole, errors = predict(tiny_model.network, loader, task.long_notes)[1], []
    for refit in (False, True):
        cut_off = copy.deepcopy(tiny_model)
        if refit:
            reconstruct(cut_off.network, stays, batches, task.long_notes)
        slice_to(cut_off, stays)
        errors.append(np.square(predict(cut_off.network, loader, task.long_notes)[1] - whole).mean())
    assert errors[1] < 0.7 * errors[0]


def test_a_head_on_maximum_and_mean_is_cut_in_both(task: MultiLabel) -> None:
    torch.manual_seed(0)
    model = Scratch(TINY, vocabulary=150, pooling="max_mean").begin(task, None)
    data = TaskData(task, model.tokenizer, 16)
    method = Structured("parameters:6000", documents=4)
    method.prepare(Teacher(model, data, Full(), FAST))
    told = method.report().rows[0]
    assert told.hidden_after < told.hidden_before
    assert told.cost_predicted == told.cost_after == count_parameters(model.network)
    assert np.isfinite(predict(model.network, data.loader(task.examples.members("test")), task.long_notes)[1]).all()


def test_words_are_units_of_a_tagger(entities: Entities, _tiny_tagger: Model) -> None:
    """Batches for calibration hold documents, not as many documents as they have words."""
    model = copy.deepcopy(_tiny_tagger)
    logits = torch.zeros(len(entities.examples.targets), entities.outputs)
    data = TaskData(entities, model.tokenizer, 24, teacher_logits=logits)
    module = Teacher(model, data, Full(), FAST)
    batches = calibration_batches(module, 9)
    assert sum(int(one["document"][-1]) + 1 for one in batches) == 9 < sum(len(one["index"]) for one in batches)
    assert all(one["teacher_logits"].shape == (len(one["index"]), entities.outputs) for one in batches)
    assert all(float(own.sum()) > 0 for own in measure_importance(module, 9).heads)


@pytest.mark.parametrize("name", QUANTIZE)
def test_it_is_quantised(tmp_path: Path, task: MultiLabel, made: dict[str, Artifact], name: str) -> None:
    plain: Any = OmegaConf.load(CONF / "quantize" / f"{name}.yaml")
    slots = {"distill": OmegaConf.load(CONF / "distill" / "mixture.yaml"), "quantize": plain}
    slots |= {"qat_epochs": 3, "qat_learning_rate": 5e-5}
    callback = instantiate(OmegaConf.create(slots).quantize)
    done = built(tmp_path / "made", task, made["little"], {"quantize": callback}, [made["start"]])
    network = done.load().network
    assert not any(isinstance(m, nn.Linear | nn.Embedding) for m in network.modules())
    assert count_parameters(network) == made["little"].report["parameters"]
    assert np.isfinite(done.predictions("test")).all()
    assert anatomy_of(made["little"]).rank is not None
    assert {"body.embeddings.word_embeddings.table", "body.embeddings.word_embeddings.up"} <= {
        one.layer for one in reported(done, "quantize")
    }


def anatomy_of(artifact: Artifact) -> Architecture:
    return Architecture.read(artifact.load().network)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_engines_run_it(tmp_path: Path, task: MultiLabel, made: dict[str, Artifact], engine: str) -> None:
    if find_engine(engine).missing():
        pytest.skip(f"{engine} is not installed")
    model = made["little"].load()
    find_engine(engine).export(model, tmp_path)
    data = TaskData(task, model.tokenizer, model.max_tokens)
    batch = data.collate([0])
    with torch.no_grad():
        wanted = model.network(batch["input_ids"], batch["attention_mask"])
    answer = find_engine(engine).open(tmp_path, 1)(batch["input_ids"].numpy(), batch["attention_mask"].numpy())
    np.testing.assert_allclose(answer, wanted, atol=1e-4)


def test_it_goes_on_from_what_it_made(tmp_path: Path, task: MultiLabel, made: dict[str, Artifact]) -> None:
    again = built(tmp_path / "again", task, made["little"], {"prune": Structured("parameters:60%", documents=8)})
    assert again.report["parameters"] <= 0.6 * made["little"].report["parameters"]
    recovered = built(tmp_path / "recovered", task, again, {"recover": Finetune(epochs=1)})
    assert anatomy_of(recovered) == anatomy_of(again)


def test_steps_end_where_one_does(tmp_path: Path, task: MultiLabel, made: dict[str, Artifact]) -> None:
    parent, costs = made["start"], []
    for remaining in (2, 1):
        method = Structured("parameters:9000", documents=8, remaining=remaining)
        parent = built(tmp_path / f"step{remaining}", task, parent, {"prune": method})
        costs.append(parent.report["parameters"])
    assert 9000 >= costs[1] > 0.9 * 9000
    assert costs[0] == pytest.approx((9000 * count_parameters(made["start"].load().network)) ** 0.5, rel=0.05)


def test_widths_that_come_back_raise(tmp_path: Path, task: MultiLabel, made: dict[str, Artifact]) -> None:
    class Grows(Structured):  # type: ignore[misc]
        def step(self, module: Any, progress: float) -> None:
            structure.layers(module.network.body)[0].up.out_features = 99

    with pytest.raises(RuntimeError, match=r"must leave Architecture\(.*, got Architecture"):
        built(tmp_path / "built", task, made["start"], {"prune": Grows(documents=2)}, epochs=1)
