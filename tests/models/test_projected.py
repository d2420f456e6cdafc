"""Laws of a student over its teacher's tokens: what it reads, where its embeddings begin, what it refuses."""

import copy
from functools import partial
from typing import Any

import pytest
import torch
from support.families import CONFIGS, PARAMETERS

from clinlm.config.errors import ModelError
from clinlm.models import artifact, structure
from clinlm.models.initializers.projected import Projected
from clinlm.models.layers.int8_linear import Int8Linear
from clinlm.models.model import Model, ModelSpec
from clinlm.tasks.data import TaskData
from clinlm.tasks.multilabel import MultiLabel

SMALL = partial(Projected, 16, layers=2, heads=2, intermediate_size=24)


def begin(task: MultiLabel, teacher: Model | None, start: Any = SMALL, **settings: Any) -> Model:
    torch.manual_seed(0)
    made: Model = start(**settings).begin(task, teacher)
    return made


def embedded(model: Model, placed: bool, rows: int = 8) -> torch.Tensor:
    """The embeddings of every token at every position, before the norm; without positions unless `placed`."""
    body = model.network.body
    first = 2 if body.config.model_type in ("roberta", "mpnet") else 0  # type: ignore[union-attr]
    total, places = structure.word_embeddings(body).weight[:, None], structure.position_embeddings(body)
    if placed:
        assert places is not None
        total = total + places.weight[None, first : first + rows]
    segments = structure.segment_embeddings(body)
    total = total if segments is None else total + segments.weight[0]
    projection = structure.embedding_projection(body)
    total = total.flatten(0, 1).detach()
    return total if projection is None else total @ projection.weight.detach().T


def with_shape(family: str, tiny: Model, task: MultiLabel) -> Model:
    shape = CONFIGS[family] | {"vocab_size": 150, "max_position_embeddings": 64, "pad_token_id": 0}
    shape |= {"pad_token_id": 1} if family in ("roberta", "mpnet") else {}
    described = ModelSpec(shape, task.outputs)
    return Model(described, described.build().eval(), tiny.tokenizer)


@pytest.mark.parametrize("family", PARAMETERS)
def test_at_full_width_embeddings_are_the_teachers_turned(family: str, task: MultiLabel, tiny_model: Model) -> None:
    """Distances and lengths of all tokens at all positions are the same; layers and head are new."""
    teacher = with_shape(family, tiny_model, task)
    student = begin(task, teacher)
    placed = structure.position_embeddings(teacher.network.body) is not None
    assert placed == (family not in ("modernbert", "deberta_v3"))
    ours, theirs = embedded(student, placed), embedded(teacher, placed)
    torch.testing.assert_close(torch.cdist(ours, ours), torch.cdist(theirs, theirs), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(ours.norm(dim=1), theirs.norm(dim=1), rtol=1e-3, atol=1e-4)
    assert student.tokenizer is teacher.tokenizer
    assert student.network.body.config.max_position_embeddings == 32  # type: ignore[union-attr]


def test_a_narrow_student_keeps_what_varies_most(task: MultiLabel, tiny_model: Model) -> None:
    """No other 16 directions keep more of the variance of the tokens, counted by their share of the training texts."""
    student = begin(task, tiny_model)
    ours = structure.word_embeddings(student.network.body).weight
    kept = ours.square().sum()
    random = torch.linalg.qr(torch.randn(32, 16, generator=torch.Generator().manual_seed(0))).Q
    theirs = structure.word_embeddings(tiny_model.network.body).weight
    assert kept > ((theirs - theirs.mean(0)) @ random).square().sum()


def test_only_what_training_texts_need(task: MultiLabel, tiny_model: Model) -> None:
    sizes = [len(begin(task, tiny_model, min_count=least).tokenizer) for least in (None, 1, 20)]
    assert sizes[0] == len(tiny_model.tokenizer) > sizes[1] > sizes[2]
    student = begin(task, tiny_model, min_count=1)
    assert structure.word_embeddings(student.network.body).num_embeddings == sizes[1]


def test_the_seed_decides_and_the_teacher_is_left_alone(task: MultiLabel, tiny_model: Model) -> None:
    before = copy.deepcopy(tiny_model.network.state_dict())
    first, again = begin(task, tiny_model), begin(task, tiny_model)
    state = first.network.state_dict()
    assert all(state[key].equal(tensor) for key, tensor in again.network.state_dict().items())
    with torch.no_grad():
        for parameter in first.network.parameters():
            parameter.zero_()
    assert all(tensor.equal(before[key]) for key, tensor in tiny_model.network.state_dict().items())


def test_it_is_saved_and_loaded_to_the_bit(task: MultiLabel, tiny_model: Model, tmp_path: Any) -> None:
    student = begin(task, tiny_model)
    artifact.save(student, tmp_path)
    data = TaskData(task, student.tokenizer, student.max_tokens)
    rows = data.collate(range(6))
    given = rows["input_ids"], rows["attention_mask"]
    assert artifact.load(tmp_path).network(*given).equal(student.network.eval()(*given))


def test_what_cannot_be_is_refused(task: MultiLabel, tiny_model: Model) -> None:
    with pytest.raises(ValueError, match="Projected needs a teacher, this stage has none; set its `teachers`"):
        begin(task, None)
    with pytest.raises(ValueError, match=r"width of the student's token vectors must be in \[1, 32\], got 33"):
        begin(task, tiny_model, partial(Projected, 33, heads=3))
    for settings in ({"heads": 5}, {"layers": 0}, {"intermediate_size": 0}):
        with pytest.raises(ValueError, match="must be >= 1.* multiple of heads, got .*'hidden_size': 312"):
            Projected(**settings)
    Int8Linear.edit(["body.encoder.layer.0.output.dense"])(tiny_model.network)
    with pytest.raises(ModelError, match="weights must be floats"):
        begin(task, tiny_model)
