"""Laws of the task on entities: whose spans are learned, which row answers for a word, and who learns from whom."""

from pathlib import Path
from typing import Any, final

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support import taggers
from support.marking import Marker
from support.odd_texts import texts
from support.pipelines import FAST, built, factory, kept
from tokenizers import ByteLevelBPETokenizer
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from clinlm.corpora.split import SPLITS
from clinlm.labelers.base import Note
from clinlm.models.adapters.full import Full
from clinlm.models.initializers.base import Initializer, with_head
from clinlm.models.model import Model, ModelSpec
from clinlm.pipeline.building import transfer_set
from clinlm.tasks.batches import unit_logits
from clinlm.tasks.data import TaskData
from clinlm.tasks.encoded import Encoded
from clinlm.tasks.entities import Entities
from clinlm.text.long_notes import UNREAD, Head, HeadTail, LongNotes, Windows
from clinlm.text.tokens import RowCutter, uncut
from clinlm.text.words import words
from clinlm.training.augmentation.mixing import Mixing
from clinlm.training.distillation import Distillation
from clinlm.training.modules.base import predict
from clinlm.training.modules.student import Student
from clinlm.training.teachers.cached_logits import teacher_logits
from clinlm.training.teachers.trained import Trained

pytestmark = pytest.mark.usefixtures("quick")
WAYS = [Windows(overlap=0.25, most=50), Windows(overlap=0.5, most=3), Windows(overlap=0, most=50), Head(), HeadTail()]


def spans(task: Entities, split: str, targets: bool = True) -> dict[str, list[tuple[int, int, str]]]:
    """What the targets of a split say, by the ids of the documents."""
    numbers = task.examples.members(split)
    said = {}
    for number, text in zip(numbers, task.texts(split), strict=True):
        first, end = task.examples.unit_start[number], task.examples.unit_start[number + 1]  # type: ignore[index]
        tags = task.examples.targets[first:end].argmax(axis=1)
        said[task.examples.frame["id"][int(number)]] = [tuple(one) for one in task.tags.decode(tags, words(text))]
    return said


# Whose spans are learned.


def test_training_learns_what_the_labeler_says_and_test_is_judged_by_people(tmp_path: Path) -> None:
    path, labeler = taggers.written(tmp_path / "notes.jsonl"), Marker(["gout", "will"])
    task = taggers.opened(path, tmp_path / "store", labeler)
    people = {note["id"]: taggers.spans_of(note) for note in taggers.notes()}
    marked = {one["id"]: said for one, said in zip(taggers.notes(), _marked(labeler), strict=True)}
    for split in SPLITS:
        truth = people if split == "test" else marked
        found = spans(task, split)
        assert found and all(own == task.tags.widened(truth[id], words(_text(task, id))) for id, own in found.items())
        answers = task.evaluate(split, task.examples.targets[task.examples.units(split)].astype(float), None)
        assert [list(own) for own in answers.truth] == [truth[id] for id in found]
    assert task.examples.facts["labeler_seconds"] == 0.5 * len(people) and task.examples.facts["labeler_failed"] == 0


def _text(task: Entities, id: str) -> str:
    frame = task.examples.frame
    return str(frame["text"][frame["id"].to_list().index(id)])


def _marked(labeler: Marker) -> list[list[Any]]:
    return [list(one.spans) for one in labeler.label([Note(note["text"]) for note in taggers.notes()])]


def test_what_the_labeler_cannot_answer_is_left_out_but_for_test(tmp_path: Path) -> None:
    notes = taggers.notes()
    for number, note in enumerate(notes):
        note["text"] += " unanswerable" if number % 2 else ""
    path = taggers.written(tmp_path / "notes.jsonl", notes)
    task = taggers.opened(path, tmp_path / "store", Marker(["gout"]))
    silent = ["unanswerable" in text for text in task.examples.frame["text"]]
    split = task.examples.frame["split"].to_list()
    assert {one for one, none in zip(split, silent, strict=True) if none} == {"test"}
    failed = task.examples.facts["labeler_failed"]
    assert failed == len(notes) // 2 and len(split) == len(notes) - (failed - sum(silent))
    assert any(one.endswith("the labeler failed") for one in task.examples.notices)


def test_no_group_straddles_and_the_choice_is_the_same_every_time(tmp_path: Path) -> None:
    path = taggers.written(tmp_path / "notes.jsonl")
    task = taggers.opened(path, tmp_path / "store", documents=30, training_documents=12)
    again = taggers.opened(path, tmp_path / "store", documents=30, training_documents=12)
    frame = task.examples.frame
    assert frame.select("group", "split").unique().height == frame["group"].n_unique() >= 10
    assert set(frame["split"]) == set(SPLITS) and (frame["split"] == "train").sum() < 18
    assert frame.equals(again.examples.frame) and np.array_equal(task.examples.targets, again.examples.targets)
    assert (task.examples.targets.sum(axis=1) == 1).all() and len(task.examples.targets) == task.examples.facts["words"]


# Which row answers for a word.


def slow_places(model: Model, way: LongNotes, limit: int, text: str) -> list[tuple[int, int] | None]:
    """Row and column of every word, found by looking at all of them."""
    encoding = uncut(model.tokenizer).encode(text, add_special_tokens=False)
    total = len(encoding.ids)
    rows = [list(row) for row in way.cut(range(total), limit - 2)]
    found: list[tuple[int, int] | None] = []
    for start, _ in words(text).tolist():
        token = next((n for n, (a, b) in enumerate(encoding.offsets) if a <= start < b), None)
        if token is None and total:
            token = max((n for n, (a, _) in enumerate(encoding.offsets) if a < start), default=0)
        best, place = -1.0, None
        for number, row in enumerate(rows):
            if token in row:
                at = row.index(token)
                left = float("inf") if row[:at] == list(range(token)) else at
                after = row[at + 1 :]
                right = float("inf") if after == list(range(token + 1, total)) else len(after)
                if min(left, right) > best:
                    best, place = min(left, right), (number, at + 1)
        found.append(place)
    return found


@pytest.mark.parametrize("way", WAYS, ids=repr)
def test_every_word_is_answered_for_once_where_most_stands_around_it(
    entities: Entities, _tiny_tagger: Model, way: LongNotes
) -> None:
    """The task's texts, some with characters that the tokenizer drops."""
    cut = RowCutter(_tiny_tagger.tokenizer, 12, way, by_word=True)
    every = entities.examples.frame["text"].to_list()[-25:]
    encoded = _encoded(cut(every))
    chosen = np.random.default_rng(0).permutation(len(every))[:14].tolist()
    batch = encoded.collate(chosen)
    rows, longest = batch["input_ids"].shape
    answers = torch.arange(rows * longest).float().view(rows, longest, 1).repeat(1, 1, 2)
    found = unit_logits(answers, batch, way)[:, 1].tolist()
    expected, row = [], 0
    for number in chosen:
        for place in slow_places(_tiny_tagger, way, 12, every[number]):
            expected.append(0.0 if place is None else float((row + place[0]) * longest + place[1]))
        row += len(encoded.rows(number))
    assert found == expected and len(found) == sum(len(words(every[number])) for number in chosen)
    assert (0.0 in expected) == isinstance(way, Head | HeadTail) or way == WAYS[1]


def _encoded(rows: Any) -> Any:
    return Encoded.of(rows.documents, 0, rows.cut, rows.places)


@given(text=texts, limit=st.integers(3, 9))
def test_no_text_is_too_odd(_tiny_tagger: Model, text: str, limit: int) -> None:
    text = text.encode("utf-8", "ignore").decode()  # half a surrogate pair is no text, and tokenizers say so
    way = Windows(overlap=0.25, most=50)
    (places,) = RowCutter(_tiny_tagger.tokenizer, limit, way, by_word=True)([text]).places or []
    rows = [len(row) for row in RowCutter(_tiny_tagger.tokenizer, limit, way)([text]).documents[0]]
    start = np.cumsum([0, *rows])
    slow = [-1 if one is None else start[one[0]] + one[1] for one in slow_places(_tiny_tagger, way, limit, text)]
    assert places.tolist() == slow


def test_a_word_that_is_not_read_teaches_nothing(tmp_path: Path, _tiny_tagger: Model) -> None:
    task = taggers.opened(taggers.written(tmp_path / "notes.jsonl"), tmp_path / "store", long_notes=Head())
    data = TaskData(task, _tiny_tagger.tokenizer, 24)
    batch = data.collate(range(12))
    unread = batch["place"] < 0
    assert 0 < unread.sum() < len(unread)
    answers = torch.randn(*batch["input_ids"].shape, task.outputs, requires_grad=True)
    logits = unit_logits(answers, batch, task.long_notes)
    assert (logits[unread, 0] == UNREAD).all() and (logits[unread, 1:] == 0).all()
    task.loss(logits, batch["targets"]).backward()
    moved = answers.grad.flatten(0, 1).abs().sum(1) > 0  # type: ignore[union-attr]
    assert set(moved.nonzero().flatten().tolist()) == set(batch["place"][~unread].tolist())


# Who learns from whom.


@final
class Bpe(Initializer):
    """A student that reads bytes: other tokens than any WordPiece, and no special ones."""

    def begin(self, task: Any, teacher: Model | None) -> Model:
        learner = ByteLevelBPETokenizer()
        learner.train_from_iterator(task.texts("train"), vocab_size=300, special_tokens=["<pad>"], show_progress=False)
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=learner._tokenizer, pad_token="<pad>")
        shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        config = {"model_type": "bert", "vocab_size": len(tokenizer), "max_position_embeddings": 40, **shape}
        body = BertModel(BertConfig(**{key: value for key, value in config.items() if key != "model_type"}))
        body.pooler = None
        network = with_head(body, task, "mean", 0.1, "prior")
        return Model(ModelSpec(config, task.outputs, network.pooling.name), network, tokenizer)

    def fingerprint(self) -> str:
        return "bytes"


def test_taggers_of_different_tokens_answer_for_the_same_words(
    entities: Entities, _tiny_tagger: Model, tmp_path: Path
) -> None:
    teacher = built(tmp_path / "teacher", entities, kept(_tiny_tagger, tmp_path / "start"), {}, epochs=1)
    logits = teacher_logits([Trained(teacher)], None, entities, "32-true")
    assert logits.shape == entities.examples.targets.shape
    imitate = factory(Student, adapter=Full(), optimizer=FAST, distill=Distillation(alpha=1.0))
    bpe = kept(Bpe().begin(entities, None), tmp_path / "bpe")
    student = built(tmp_path / "student", entities, bpe, {}, [teacher], imitate, epochs=2)
    assert student.predictions("test").shape == teacher.predictions("test").shape
    tokens = [entities.encode(one.load().tokenizer, 24) for one in (teacher, student)]
    assert tokens[0].units == tokens[1].units == len(entities.examples.targets)
    assert len(tokens[0].tokens) != len(tokens[1].tokens)

    def apart(artifact: Any) -> float:
        model = artifact.load()
        data = TaskData(entities, model.tokenizer, model.max_tokens)
        index, said = predict(model.network, data.loader(entities.examples.members("train")), entities.long_notes)
        return float(Distillation(alpha=1.0).soft(torch.from_numpy(said), logits[torch.from_numpy(index)]))

    assert apart(student) < apart(bpe)


def test_a_transfer_set_is_words_without_labels(entities: Entities, _tiny_tagger: Model, tmp_path: Path) -> None:
    teacher = built(tmp_path / "teacher", entities, kept(_tiny_tagger, tmp_path / "start"), {})
    made = transfer_set(
        Mixing(times=1), {"_target_": "clinlm.training.augmentation.mixing.Mixing", "times": 1}, entities, "key"
    )
    logits = teacher_logits([Trained(teacher)], None, entities, "32-true", made)
    labelled, extra = len(entities.examples.targets), sum(len(words(text)) for text in made.texts)
    assert len(logits) == labelled + extra and extra > 100
    data = TaskData(entities, _tiny_tagger.tokenizer, 24, teacher_logits=logits, transfer=made)
    documents = len(entities.examples.frame)
    batch = data.collate([3, documents, documents + len(made.texts) - 1])
    counts = [len(words(text)) for text in (entities.examples.frame["text"][3], made.texts[0], made.texts[-1])]
    assert batch["labelled"].tolist() == [True] * counts[0] + [False] * sum(counts[1:])
    assert torch.equal(batch["teacher_logits"], logits[batch["index"]]) and not batch["targets"][counts[0] :].any()
    own = predict(_tiny_tagger.network, data.loader(np.array([documents + 1])), entities.long_notes)[1]
    number = labelled + counts[1]
    np.testing.assert_allclose(logits[number : number + len(own)].numpy(), own, atol=1e-5)
