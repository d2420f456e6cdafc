"""Laws of students of another architecture than their teacher's: tokens, first answers, and what they refuse."""

import copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from support.families import CONFIGS, PARAMETERS
from support.pipelines import TINY, artifacts, composed, finished

from clinlm.config.errors import ModelError
from clinlm.models import artifact, structure
from clinlm.models.initializers.dilated_cnn import DilatedCnn
from clinlm.models.initializers.factorized import Factorized
from clinlm.models.initializers.teacher_tokens import (
    Principal,
    principal_components,
    single_token_states,
    teacher_tokens,
)
from clinlm.models.initializers.text_cnn import TextCnn
from clinlm.models.initializers.token_vectors import TokenVectors
from clinlm.models.initializers.wide import Wide
from clinlm.models.layers.int8_linear import Int8Linear
from clinlm.models.model import Model, ModelSpec, rebuild
from clinlm.tasks.data import TaskData
from clinlm.tasks.multilabel import MultiLabel
from clinlm.text.tokens import uncut

STARTS: dict[str, Any] = {
    "factorized": partial(Factorized, 8, 16, layers=2, heads=2, intermediate_size=24),
    "text_cnn": partial(TextCnn, 8, (2, 3), 5),
    "dilated_cnn": partial(DilatedCnn, 8, 6),
    "token_vectors": partial(TokenVectors, 8),
    "wide": lambda **own: Wide(TextCnn(8, (2, 3), 5, **own)),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store: the pipelines share their teacher."""
    return tmp_path_factory.mktemp("shared")


def begin(name: str, task: MultiLabel, teacher: Model | None, **settings: Any) -> Model:
    torch.manual_seed(0)
    made: Model = STARTS[name](**settings).begin(task, teacher)
    return made


def batch(task: MultiLabel, model: Model) -> tuple[torch.Tensor, torch.Tensor]:
    data = TaskData(task, model.tokenizer, model.max_tokens)
    rows = data.collate(range(6))
    return rows["input_ids"], rows["attention_mask"]


@pytest.mark.parametrize("name", sorted(STARTS))
def test_a_student_reads_training_texts_as_its_teacher(name: str, every_term: MultiLabel, tiny_model: Model) -> None:
    task = every_term
    student = begin(name, task, tiny_model)
    ours, theirs = uncut(student.tokenizer), uncut(tiny_model.tokenizer)
    assert all(ours.encode(text).tokens == theirs.encode(text).tokens for text in task.texts("train"))
    vocabulary = len(student.tokenizer)
    assert all(table.num_embeddings == vocabulary for table in structure.token_tables(student.network.body))


@pytest.mark.parametrize("name", sorted(STARTS))
def test_only_training_texts_are_read(
    name: str, task: MultiLabel, tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    texts = task.texts("train")
    monkeypatch.setitem(vars(task), "texts", lambda split: asked.append(split) or texts)  # type: ignore[func-returns-value]
    begin(name, task, tiny_model)
    assert set(asked) == {"train"}


@pytest.mark.parametrize("name", sorted(STARTS))
def test_rarer_tokens_go_where_more_is_asked(name: str, task: MultiLabel, tiny_model: Model) -> None:
    sizes = [len(begin(name, task, tiny_model, min_count=least).tokenizer) for least in (1, 20, 10**6)]
    assert sizes[0] > sizes[1] > sizes[2]


@pytest.mark.parametrize("name", sorted(STARTS))
def test_the_seed_decides_and_the_teacher_is_left_alone(name: str, task: MultiLabel, tiny_model: Model) -> None:
    before = copy.deepcopy(tiny_model)
    first, again = begin(name, task, tiny_model), begin(name, task, tiny_model)
    state = first.network.state_dict()
    assert all(state[key].equal(tensor) for key, tensor in again.network.state_dict().items())
    with torch.no_grad():
        for parameter in first.network.parameters():
            parameter.zero_()
    theirs = tiny_model.network.state_dict()
    assert all(theirs[key].equal(tensor) for key, tensor in before.network.state_dict().items())
    assert tiny_model.tokenizer.backend_tokenizer.to_str() == before.tokenizer.backend_tokenizer.to_str()


@pytest.mark.parametrize("name", sorted(STARTS))
def test_a_student_is_saved_and_loaded_to_the_bit(
    name: str, task: MultiLabel, tiny_model: Model, tmp_path: Path
) -> None:
    student = begin(name, task, tiny_model)
    ids, mask = batch(task, student)
    student.network.eval()
    rebuild(student.spec, student.edits).load_state_dict(student.network.state_dict(), strict=True)
    artifact.save(student, tmp_path)
    loaded = artifact.load(tmp_path)
    assert loaded.network(ids, mask).equal(student.network(ids, mask))
    assert loaded.tokenizer.backend_tokenizer.to_str() == student.tokenizer.backend_tokenizer.to_str()
    assert all(p.requires_grad and p.dtype == torch.float32 for p in student.network.parameters())


@pytest.mark.parametrize("name", sorted(STARTS))
@pytest.mark.parametrize("family", PARAMETERS)
def test_any_teacher_will_do(name: str, family: str, task: MultiLabel, tiny_model: Model) -> None:
    shape = CONFIGS[family] | {"vocab_size": 150, "max_position_embeddings": 64, "pad_token_id": 0}
    described = ModelSpec(shape, task.outputs)
    teacher = Model(described, described.build().eval(), tiny_model.tokenizer)
    student = begin(name, task, teacher)
    assert student.network.eval()(*batch(task, student)).isfinite().all()


def test_a_wide_bag_of_vectors_begins_with_what_the_teacher_says_of_single_tokens(
    task: MultiLabel, tiny_model: Model
) -> None:
    """All dimensions, all tokens alike: nothing is lost."""
    student = TokenVectors(32, smoothing=1e9).begin(task, tiny_model)
    tokens = teacher_tokens(task, tiny_model, 1)
    states = single_token_states(tiny_model, tokens.numbers)
    ids = torch.arange(len(tokens.numbers))[:, None]
    said = student.network.eval()(ids, torch.ones_like(ids))
    torch.testing.assert_close(said, tiny_model.network.head(states), atol=1e-3, rtol=1e-3)
    row = torch.tensor([[tiny_model.tokenizer.cls_token_id, tokens.numbers[20], tiny_model.tokenizer.sep_token_id]])
    alone = tiny_model.network.eval()(row, torch.ones_like(row))
    torch.testing.assert_close(said[20:21], alone, atol=1e-3, rtol=1e-3)


def test_weights_fall_with_frequency(task: MultiLabel, tiny_model: Model) -> None:
    student = TokenVectors(8, smoothing=0.01).begin(task, tiny_model)
    tokens = teacher_tokens(task, tiny_model, 1)
    weights = student.network.body.weights.weight.detach().flatten()  # type: ignore[union-attr]
    order = tokens.share.argsort()
    assert (weights[order].diff() <= 0).all() and float(tokens.share @ weights) == pytest.approx(1, rel=1e-4)
    rare, common = order[0], order[-1]
    expected = (0.01 + tokens.share[common]) / (0.01 + tokens.share[rare])
    assert float(weights[rare] / weights[common]) == pytest.approx(float(expected), rel=1e-4)


def test_a_factorized_student_begins_near_the_bag(task: MultiLabel, tiny_model: Model) -> None:
    """Its first answers go with what the teacher says of the tokens alone; those of a fresh head go with nothing."""
    student = Factorized(16, 32, layers=1, heads=2, intermediate_size=16).begin(task, tiny_model)
    tokens = teacher_tokens(task, tiny_model, 1)
    said = tiny_model.network.head(single_token_states(tiny_model, tokens.numbers))
    ids = torch.arange(len(tokens.numbers))[:, None]
    answers = student.network.eval()(ids, torch.ones_like(ids))
    together = [torch.corrcoef(torch.stack([said[:, j], answers[:, j]]))[0, 1] for j in range(task.outputs)]
    assert min(together) > 0.5


def test_principal_components_are_those_of_repeated_vectors() -> None:
    torch.manual_seed(0)
    vectors, times = torch.randn(6, 4, dtype=torch.float64).float(), torch.tensor([1, 2, 3, 1, 5, 1])
    found = principal_components(vectors, times / times.sum(), 2)
    repeated = vectors.repeat_interleave(times, 0).double()
    _, _, slow = torch.linalg.svd(repeated - repeated.mean(0), full_matrices=False)
    torch.testing.assert_close(found.mean, repeated.mean(0).float())
    torch.testing.assert_close(found.directions.abs(), slow[:2].T.abs().float(), atol=1e-4, rtol=1e-4)
    assert (found.directions.gather(0, found.directions.abs().argmax(0, keepdim=True)) > 0).all()


def test_projection_by_hand() -> None:
    found = Principal(torch.tensor([1.0, 0.0]), torch.tensor([[0.0], [1.0]]))
    assert found.project(torch.tensor([[3.0, 4.0], [1.0, -2.0]])).tolist() == [[4.0], [-2.0]]


@pytest.mark.parametrize("name", sorted(STARTS))
def test_what_cannot_be_is_refused(name: str, task: MultiLabel, tiny_model: Model) -> None:
    with pytest.raises(ValueError, match="needs a teacher, this stage has none; set its `teachers`"):
        begin(name, task, None)
    width = {"factorized": {"embedding_size": 33, "hidden_size": 36}, "token_vectors": {"hidden_size": 33}}
    settings = width.get(name, {"embedding_size": 33})
    wide = Wide(TextCnn(**settings)) if name == "wide" else type(STARTS[name]())(**settings)
    with pytest.raises(ValueError, match=r"width of the student's token vectors must be in \[1, 32\], got 33"):
        wide.begin(task, tiny_model)
    Int8Linear.edit(["body.encoder.layer.0.output.dense"])(tiny_model.network)
    with pytest.raises(ModelError, match="weights must be floats"):
        begin(name, task, tiny_model)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (partial(Factorized, 192, 192), "must be < student.hidden_size, got 192 and 192"),
        (partial(Factorized, heads=5), "a multiple of heads, got .*'heads': 5"),
        (partial(Factorized, layers=0), "must be >= 1.*'layers': 0"),
        (partial(TextCnn, widths=()), r"student.widths must be a list of numbers.*got \[\]"),
        (partial(TextCnn, filters=0), "student.filters >= 1.*and 0"),
        (partial(TextCnn, max_tokens=2), "student.max_tokens must be >= 3.*got 2"),
        (partial(DilatedCnn, dilations=(1, 0)), r"student.dilations must be a list of numbers.*got \[1, 0\]"),
        (partial(DilatedCnn, max_tokens=2), "student.max_tokens must be >= 3.*got 2"),
        (partial(TokenVectors, smoothing=0.0), "student.smoothing must be > 0, got 0.0"),
        (partial(TokenVectors, dropout=1.0), r"dropout must be in \[0, 1\), got 1.0"),
    ],
)
def test_settings_are_checked(make: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", sorted({*STARTS} - {"wide"}))  # test_wide.py has a longer one
def test_a_pipeline_distils_it(name: str, notes_csv: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size: dict[str, tuple[str, ...]] = {
        "factorized": ("student.embedding_size=8", "student.hidden_size=16", "student.heads=2")
    }
    size |= {"token_vectors": ("student.hidden_size=8",)}
    own = size.get(name, ("student.embedding_size=8",))
    monkeypatch.setattr("support.pipelines.TINY", [one for one in TINY if not one.startswith("student.")])
    config = composed(notes_csv, shared / "store", "pipeline=distillation", f"model@student={name}", *own)
    done = artifacts(finished(config))
    student = done["student"].load()
    assert done["student"].report["steps"] > 0
    assert len(student.tokenizer) <= len(done["teacher"].load().tokenizer)
