"""Laws of removing filters: the norm by hand, the weakest go and stay away, and the artifact is smaller."""

from pathlib import Path
from typing import Any

import pytest
import torch
from support.pipelines import FAST, built, kept

from callbacks.prune.filters import Filters
from callbacks.prune.magnitude import Magnitude
from callbacks.prune.unstructured import Unstructured
from callbacks.quantize.dynamic import Dynamic
from callbacks.recover.finetune import Finetune
from callbacks.schedules.one_shot import OneShot
from clinlm.compression.scores import row_l1_norms
from clinlm.config.errors import ModelError
from clinlm.models import structure
from clinlm.models.adapters.full import Full
from clinlm.models.initializers.text_cnn import TextCnn
from clinlm.models.initializers.token_vectors import TokenVectors
from clinlm.models.layers.int8_linear import Int8Linear
from clinlm.models.model import Model
from clinlm.tasks.data import TaskData
from clinlm.tasks.multilabel import MultiLabel
from clinlm.training.modules.teacher import Teacher

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def cnn(task: MultiLabel, tiny_model: Model) -> Model:
    torch.manual_seed(0)
    return TextCnn(8, (1, 2, 3), 6).begin(task, tiny_model)


def widths(model: Model) -> list[int]:
    return [linear.out_features for linear in structure.filters(model.network.body)]


def test_norms_by_hand() -> None:
    weight = torch.tensor([[3.0, -4.0, 0.0], [0.0, 0.0, 0.0], [1.0, -2.0, 2.0]])
    assert row_l1_norms(weight).tolist() == [7.0, 0.0, 5.0]


@pytest.mark.parametrize(("ratio", "left"), [(0.25, 4), (0.5, 3), (0.99, 1)])
def test_the_weakest_filters_go(task: MultiLabel, cnn: Model, ratio: float, left: int) -> None:
    data = TaskData(task, cnn.tokenizer, 32)
    before = [linear.weight.detach().clone() for linear in structure.filters(cnn.network.body)]
    method = Filters(ratio)
    method.prepare(Teacher(cnn, data, Full(), FAST))
    (edit,) = cnn.edits
    for number, (row, weight) in enumerate(zip(method.report().rows, before, strict=True)):
        stay = edit.arguments["filters"][str(number)]
        norms = [sum(abs(value) for value in one) for one in weight.tolist()]
        gone = [norm for filter_, norm in enumerate(norms) if filter_ not in stay]
        assert len(stay) == left == row.filters_after and row.filters_before == 6
        assert row.tokens == number + 1 and min(norms[one] for one in stay) >= max(gone)
        assert (row.norm_min, row.norm_max) == pytest.approx((min(norms), max(norms)), rel=1e-5)
    assert widths(cnn) == [left] * 3 and cnn.network.head.in_features == 3 * left


def test_filters_stay_away_in_training_and_recovery_and_become_int8(
    tmp_path: Path, task: MultiLabel, cnn: Model
) -> None:
    start = kept(cnn, tmp_path / "start")
    pruned = built(tmp_path / "pruned", task, start, {"prune": Filters(0.5)}, epochs=2)
    recovered = built(tmp_path / "recovered", task, pruned, {"recover": Finetune(epochs=1)})
    assert widths(pruned.load()) == widths(recovered.load()) == [3, 3, 3]
    int8 = built(tmp_path / "int8", task, recovered, {"quantize": Dynamic()})
    assert int8.load().network.body.config.filters == [3, 3, 3]  # type: ignore[union-attr]
    assert (int8.folder / "model.safetensors").stat().st_size < (start.folder / "model.safetensors").stat().st_size


def test_filters_that_come_back_raise(tmp_path: Path, task: MultiLabel, cnn: Model) -> None:
    class Grows(Filters):  # type: ignore[misc]
        def step(self, module: Any, progress: float) -> None:
            structure.filters(module.network.body)[0].out_features = 6

    with pytest.raises(RuntimeError, match=r"FilterCount promised \[3, 3, 3\], got \[6, 3, 3\]"):
        built(tmp_path / "built", task, kept(cnn, tmp_path / "start"), {"prune": Grows(0.5)}, epochs=1)


def test_nothing_to_remove_raises(tmp_path: Path, task: MultiLabel, cnn: Model) -> None:
    told = r"left every tensor as it was \(ratio=0.01; filters of the widths, of which one each must stay: 6, 6, 6\)"
    with pytest.raises(RuntimeError, match=told):
        built(tmp_path / "built", task, kept(cnn, tmp_path / "start"), {"prune": Filters(0.01)})


def test_masks_go_where_filters_are(tmp_path: Path, task: MultiLabel, cnn: Model) -> None:
    """What masks weights masks those of convolutions; a method that slices in the same stage comes first."""
    start, masks = kept(cnn, tmp_path / "start"), Unstructured(0.5, schedule=OneShot())
    masked = built(tmp_path / "masked", task, start, {"prune": masks})
    assert masked.report["nonzero"] < masked.report["parameters"]
    both = {"mask": Unstructured(0.5, schedule=OneShot()), "prune": Filters(0.5)}
    with pytest.raises(ModelError, match="masked linear layers cannot be sliced or replaced"):
        built(tmp_path / "both", task, start, both)


def test_other_architectures_are_refused(task: MultiLabel, tiny_model: Model, cnn: Model) -> None:
    data = TaskData(task, tiny_model.tokenizer, 32)
    with pytest.raises(ModelError, match="needs a convolutional network, got BertModel; .* prunes FFN"):
        Filters().prepare(Teacher(tiny_model, data, Full(), FAST))
    for other in (cnn, TokenVectors(8).begin(task, tiny_model)):
        with pytest.raises(ModelError, match="for text_cnn: prune=filters"):
            Magnitude().prepare(Teacher(other, data, Full(), FAST))
    Int8Linear.edit(["body.filters.0"])(cnn.network)
    with pytest.raises(ModelError, match="weights must be floats"):
        Filters().prepare(Teacher(cnn, data, Full(), FAST))


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.1, float("nan")])
def test_wrong_settings_are_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match=r"prune.ratio must be in \(0, 1\), got"):
        Filters(ratio)
