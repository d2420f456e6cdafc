"""Laws of a student cut out of its teacher."""

import copy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.families import HIDDEN, PARAMETERS, config, network, rows, spec

from clinlm.models import artifact, structure
from clinlm.models.initializers.from_teacher import FromTeacher, layer_numbers
from clinlm.models.model import Edit, Model, rebuild
from clinlm.models.surgery import keep_layers
from clinlm.tasks.data import TaskData
from clinlm.tasks.multilabel import MultiLabel

UNEVEN = Edit("clinlm.models.surgery.keep_ffn_units", {"units": {"0": [1, 2, 5], "3": [4]}})


def answer(model: Model, task: MultiLabel) -> torch.Tensor:
    data = TaskData(task, model.tokenizer, model.max_tokens)
    batch = data.collate(range(6))
    with torch.no_grad():
        logits: torch.Tensor = model.network.eval()(batch["input_ids"], batch["attention_mask"])
    return logits


@given(st.integers(1, 48), st.integers(1, 48))
def test_a_number_is_spread_evenly_with_both_ends(layers: int, total: int) -> None:
    if layers > total:
        return
    chosen = layer_numbers(layers, total)
    assert len(chosen) == len(set(chosen)) == layers
    assert chosen == sorted(chosen)
    assert chosen[-1] == total - 1
    if layers > 1:
        gaps = [after - before for before, after in zip(chosen, chosen[1:], strict=False)]
        assert chosen[0] == 0
        assert max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize(("layers", "expected"), [(1, [3]), (2, [0, 3]), (3, [0, 2, 3]), (4, [0, 1, 2, 3]), ([1], [1])])
def test_the_student_is_the_teacher_with_fewer_layers(
    task: MultiLabel, tiny_model: Model, layers: int | list[int], expected: list[int]
) -> None:
    student = FromTeacher(layers).begin(task, tiny_model)
    shorter = copy.deepcopy(tiny_model)
    keep_layers(shorter.network, expected)
    assert answer(student, task).equal(answer(shorter, task))


def test_the_teacher_is_left_alone(task: MultiLabel, tiny_model: Model) -> None:
    before = copy.deepcopy(tiny_model)
    student = FromTeacher(2, 16).begin(task, tiny_model)
    with torch.no_grad():
        for parameter in student.network.parameters():
            parameter.zero_()
    state = before.network.state_dict()
    assert tiny_model.edits == []
    assert all(state[name].equal(tensor) for name, tensor in tiny_model.network.state_dict().items())
    assert config(tiny_model.network).num_hidden_layers == 4


def test_all_layers_and_dimensions_are_the_teacher(task: MultiLabel, tiny_model: Model) -> None:
    for hidden_size in (None, 32):
        student = FromTeacher(4, hidden_size).begin(task, tiny_model)
        assert answer(student, task).equal(answer(tiny_model, task))


@pytest.mark.parametrize("hidden_size", [None, 20])
def test_a_pruned_teacher_gives_its_uneven_widths_and_replays(
    task: MultiLabel, tiny_model: Model, tmp_path: Any, hidden_size: int | None
) -> None:
    tiny_model.apply(UNEVEN)
    student = FromTeacher([0, 1, 3], hidden_size).begin(task, tiny_model)
    assert [layer.up.out_features for layer in structure.layers(student.network.body)] == [3, 48, 1]
    assert student.edits[0] == UNEVEN
    replayed = rebuild(student.spec, student.edits)
    replayed.load_state_dict(student.network.state_dict(), strict=True)
    artifact.save(student, tmp_path)
    assert answer(artifact.load(tmp_path), task).equal(answer(student, task))


def test_a_student_of_a_student(task: MultiLabel, tiny_model: Model) -> None:
    first = FromTeacher([0, 2, 3]).begin(task, tiny_model)
    second = FromTeacher([0, 2]).begin(task, first)
    assert answer(second, task).equal(answer(FromTeacher([0, 3]).begin(task, tiny_model), task))


def test_the_dimensions_with_the_largest_weights_stay(task: MultiLabel, tiny_model: Model) -> None:
    dimensions = [1, 4, 9, 30]
    with torch.no_grad():
        for writer in structure.writers(tiny_model.network.body):
            writer[dimensions] *= 10
    student = FromTeacher(4, 4).begin(task, tiny_model)
    assert student.edits[-1].arguments["dimensions"] == dimensions
    before, after = (structure.layers(m.network.body)[0] for m in (tiny_model, student))
    scale = (32 / 4) ** 0.5  # what reads a sum over fewer terms is scaled up, what writes is not
    assert torch.allclose(after.up.weight, before.up.weight[:, dimensions] * scale)
    assert torch.allclose(student.network.head.weight, tiny_model.network.head.weight[:, dimensions] * scale)
    assert after.down.weight.equal(before.down.weight[dimensions])


@pytest.mark.parametrize("family", PARAMETERS)
@pytest.mark.parametrize("pooling", ["mean", "attention", "label_attention"])
def test_every_family_can_be_narrowed(task: MultiLabel, tiny_model: Model, family: str, pooling: Any) -> None:
    teacher = Model(spec(family, pooling), network(family, pooling), tiny_model.tokenizer)
    student = FromTeacher(2, HIDDEN // 2).begin(task, teacher)
    assert structure.hidden_size(student.network.body) == HIDDEN // 2
    with torch.no_grad():
        assert student.network(*rows(family)).isfinite().all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": 5}, r"student.layers must be in \[1, 4\], got 5; the teacher has no more layers"),
        ({"layers": 0}, r"student.layers must be in \[1, 4\], got 0"),
        ({"layers": [0, 4]}, "layer to keep must be one of 0 to 3, got 4"),
        ({"layers": [2, 1]}, "ascending order"),
        ({"layers": []}, "must be a number, or different layers"),
        ({"layers": 2, "hidden_size": 33}, r"student.hidden_size must be in \[1, 32\], got 33"),
        ({"layers": 2, "hidden_size": 0}, r"student.hidden_size must be in \[1, 32\], got 0"),
    ],
)
def test_more_than_the_teacher_has_is_an_error(
    task: MultiLabel, tiny_model: Model, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        FromTeacher(**settings).begin(task, tiny_model)


def test_without_a_teacher_there_is_no_student(task: MultiLabel) -> None:
    assert FromTeacher.needs_teacher
    with pytest.raises(ValueError, match="set its `teachers`"):
        FromTeacher().begin(task, None)
