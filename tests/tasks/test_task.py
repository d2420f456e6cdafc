"""Laws of the multi-label task: which documents are chosen, what bad input says, and what may be looked at."""

import csv
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clinlm.corpora.split import SPLITS
from clinlm.corpora.table import Table
from clinlm.models.model import Model
from clinlm.tasks import base as tasks
from clinlm.tasks.base import dropped_notice
from clinlm.tasks.data import TaskData
from clinlm.tasks.multilabel import MultiLabel
from clinlm.text.long_notes import Head, HeadTail, Windows

Row = tuple[str, str, str, str]
SHARES = (0.6, 0.2, 0.2)


def unopened(notes: Path, **settings: Any) -> MultiLabel:
    corpus = partial(Table, text="text", labels="labels", id="id", group="group", delimiter=";")
    settings = {"long_notes": Head(), "max_tokens": 32, "shares": SHARES, **settings}
    return MultiLabel(corpus, str(notes), **settings)


@pytest.fixture
def opened(tmp_path: Path, notes_csv: Path) -> Callable[..., MultiLabel]:
    """Return what opens a task on `notes_csv` or on other notes, every one in a store of its own."""
    made: list[MultiLabel] = []

    def make(notes: Path = notes_csv, **settings: Any) -> MultiLabel:
        made.append(unopened(notes, **settings))
        made[-1].open(tmp_path / f"store{len(made)}", "key")
        return made[-1]

    return make


def table(path: Path, rows: Sequence[Row]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("id", "group", "text", "labels"), *rows])
    return path


def simple(count: int, labels: Callable[[int], str]) -> list[Row]:
    return [(f"n{i}", f"p{i}", f"note number {i}", labels(i)) for i in range(count)]


# Bad input: a clear error or a dropped_notice notice.


def test_no_labels_at_all_is_an_error(tmp_path: Path) -> None:
    task = unopened(table(tmp_path / "notes.csv", simple(9, lambda _: "")))
    with pytest.raises(ValueError, match="needs labels; no record of the corpus has one; check task.corpus"):
        task.open(tmp_path / "store", "key")


@pytest.mark.parametrize("rows", [[], [("n1", "p1", "  ", "a"), ("n2", "p2", "", "b")]], ids=["no rows", "no text"])
def test_no_notes_left_is_an_error(tmp_path: Path, rows: list[Row]) -> None:
    task = unopened(table(tmp_path / "notes.csv", rows))
    with pytest.raises(ValueError, match="a corpus must have a note"):
        task.open(tmp_path / "store", "key")
    with pytest.raises(ValueError):  # and it is no better the second time: nothing half made is taken for whole
        task.open(tmp_path / "store", "key")


def test_fewer_groups_than_splits_is_an_error(tmp_path: Path) -> None:
    rows = [(f"n{i}", f"p{i % 2}", f"note number {i}", "ab"[i % 2]) for i in range(9)]
    with pytest.raises(ValueError, match="3 splits need at least as many groups"):
        unopened(table(tmp_path / "notes.csv", rows)).open(tmp_path / "store", "key")


def test_a_label_in_one_split_only_is_named(tmp_path: Path, opened: Callable[..., MultiLabel]) -> None:
    rows = simple(30, lambda i: "common;other" if i % 2 else "common")
    rows[7] = (*rows[7][:3], "common;rare")
    examples = opened(table(tmp_path / "notes.csv", rows), labels=None).examples
    column = examples.labels.index("rare")
    has = {split for split in SPLITS if examples.targets[examples.members(split), column].any()}
    assert len(has) == 1
    expected = [f"1 of 3 labels do not occur in {split}: rare" for split in SPLITS if split not in has]
    assert list(examples.notices) == expected


def test_more_documents_than_there_are_is_a_notice(opened: Callable[..., MultiLabel]) -> None:
    assert opened(documents=60).examples.notices == opened().examples.notices == ()
    examples = opened(documents=2377).examples
    assert len(examples.frame) == 60
    assert examples.notices == ("2,377 documents requested, all 60 of the corpus used",)


def test_documents_without_a_kept_label_are_counted(notes_csv: Path, opened: Callable[..., MultiLabel]) -> None:
    with notes_csv.open(encoding="utf-8", newline="") as file:
        labels = [row["labels"].split(";") for row in csv.DictReader(file)]
    counts = Counter(label for own in labels for label in own)
    for k in (2, 3):
        kept = sorted(counts, key=lambda name: (-counts[name], name))[:k]
        gone = sum(not set(own) & set(kept) for own in labels)
        examples = opened(labels=k).examples
        assert list(examples.labels) == kept
        assert examples.notices[: gone > 0] == tuple(dropped_notice(gone, 60, f"none of the {k} labels kept"))
        assert len(examples.frame) == 60 - gone == examples.facts["documents_with_a_label"]
        assert examples.targets.sum(0).tolist() == [counts[name] for name in kept]


def test_a_count_is_written_with_its_total_or_not_at_all() -> None:
    assert dropped_notice(12, 2377, "why") == ["12 of 2,377 notes dropped: why"]
    assert dropped_notice(0, 2377, "why") == []


@pytest.mark.parametrize("how", [Head(), HeadTail(), Windows()], ids=lambda how: type(how).__name__)
def test_a_note_longer_than_the_limit_fits_it(how: Any, opened: Callable[..., MultiLabel], tiny_model: Model) -> None:
    task = opened(long_notes=how, max_tokens=512)
    for limit in (tiny_model.max_tokens, 10, 3):
        data = TaskData(task, tiny_model.tokenizer, limit)
        rows = [row for document in range(60) for row in data.encoded.rows(document)]
        assert max(map(len, rows)) <= limit
        ends = {(int(row[0]), int(row[-1])) for row in rows}
        assert ends == {(tiny_model.tokenizer.cls_token_id, tiny_model.tokenizer.sep_token_id)}
    with pytest.raises(ValueError, match="a row must have room for a token that is not special"):
        TaskData(task, tiny_model.tokenizer, 2)


def test_wrong_settings_are_refused(notes_csv: Path) -> None:
    for settings in ({"labels": 0}, {"training_documents": 0}):
        with pytest.raises(
            ValueError, match=rf"task.{next(iter(settings))} must be (at least 1|a number of labels >= 1)"
        ):
            unopened(notes_csv, **settings)
    with pytest.raises(RuntimeError, match="must be opened before it is used"):
        _ = unopened(notes_csv).examples


# An opened task never changes.


def test_an_opened_task_is_frozen(opened: Callable[..., MultiLabel], tmp_path: Path) -> None:
    task = opened()
    for name in [*vars(task), "added"]:
        with pytest.raises(AttributeError, match=f"immutable once opened, got {name} = "):
            setattr(task, name, 1)
    with pytest.raises(RuntimeError, match="must be opened once"):
        task.open(tmp_path / "elsewhere", "key")
    assert task.open(tmp_path / task.folder.parent, "key") is task  # type: ignore[union-attr]


def test_the_data_of_two_stages_do_not_influence_each_other(
    opened: Callable[..., MultiLabel], tiny_model: Model
) -> None:
    """Each stage has its own row length, batches, order and teacher logits; the task stays the same."""
    task = opened()
    before = {"examples": task.examples} | vars(task)
    first = TaskData(task, tiny_model.tokenizer, 32, batch_size=4, seed=1, teacher_logits=torch.ones(60, 4))
    wanted = [{name: value.tolist() for name, value in batch.items()} for batch in first.train_dataloader()]
    second = TaskData(task, tiny_model.tokenizer, 8, batch_size=9, seed=2)
    assert all("teacher_logits" not in b and b["input_ids"].shape[1] <= 8 for b in second.train_dataloader())
    again = [{name: value.tolist() for name, value in batch.items()} for batch in first.train_dataloader()]
    assert again == wanted and all(len(batch["index"]) <= 4 for batch in wanted)
    assert vars(task) == before


# What is chosen.


def test_choice_and_split_are_the_same_every_time(
    opened: Callable[..., MultiLabel], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, other = (opened(documents=40, seed=seed) for seed in (0, 0, 1))
    assert one.examples.frame.equals(two.examples.frame)
    assert not one.examples.frame.equals(other.examples.frame)
    assert one.folder is not None
    before = one.examples
    monkeypatch.setattr(one.corpus, "records", lambda: pytest.fail("a choice once made is read, not made again"))
    vars(one).pop("examples")
    one.open(one.folder.parent, "key")
    assert one.examples is not before
    assert one.examples.frame.equals(before.frame) and (one.examples.targets == before.targets).all()
    assert replace(one.examples, frame=before.frame, targets=before.targets) == before


def test_every_document_is_in_one_split_and_no_group_straddles(opened: Callable[..., MultiLabel]) -> None:
    examples = opened(documents=40).examples
    members = [examples.members(split) for split in SPLITS]
    assert sorted(np.concatenate(members).tolist()) == list(range(40)) and all(map(len, members))
    groups = [set(examples.frame["group"].gather(chosen)) for chosen in members]
    assert sum(map(len, groups)) == len(set.union(*groups)) == examples.facts["groups"]
    assert [examples.facts[split] for split in SPLITS] == [len(chosen) for chosen in members]


def test_fewer_training_documents_leave_validation_and_test(opened: Callable[..., MultiLabel]) -> None:
    every = opened(seed=3).examples
    before: set[str] = set()
    for wanted in (1, 5, 12, 1000):
        examples = opened(seed=3, training_documents=wanted).examples
        ids = {split: set(examples.frame["id"].gather(examples.members(split))) for split in SPLITS}
        full = {split: set(every.frame["id"].gather(every.members(split))) for split in SPLITS}
        assert (ids["validation"], ids["test"]) == (full["validation"], full["test"])
        assert before <= ids["train"] <= full["train"]
        assert len(ids["train"]) >= min(wanted, len(full["train"]))
        train = examples.frame["group"].gather(examples.members("train"))
        sizes = Counter(every.frame["group"].gather(every.members("train")))
        assert all(count == sizes[group] for group, count in Counter(train).items())  # whole groups
        before = ids["train"]


def test_texts_come_in_the_order_of_members(opened: Callable[..., MultiLabel]) -> None:
    task = opened()
    for split in SPLITS:
        rows = task.examples.frame.filter(task.examples.frame["split"] == split)
        assert task.texts(split) == rows["text"].to_list()
    assert all(text not in repr(task.examples) for text in task.texts("train"))


# What is computed.


def test_tokens_are_computed_once_for_a_tokenizer_and_a_length(
    opened: Callable[..., MultiLabel], tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, calls = opened(), list[int]()
    encode = tasks.Task.encoded_texts

    def counting(self: tasks.Task, slices: Any, tokenizer: Any, max_tokens: int) -> Any:
        calls.append(max_tokens)
        return encode(self, slices, tokenizer, max_tokens)

    monkeypatch.setattr(tasks.Task, "encoded_texts", counting)
    first, again, shorter = (task.encode(tiny_model.tokenizer, length) for length in (32, 32, 16))
    assert calls == [32, 16]
    assert first.pad == again.pad == tiny_model.tokenizer.pad_token_id
    for name in ("tokens", "row_start", "document_start"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert shorter.lengths().max() == 16
    texts = task.examples.frame["text"].to_list()
    for document in range(5):
        (row,) = first.rows(document)
        assert row.tolist() == tiny_model.tokenizer(texts[document], truncation=True, max_length=32)["input_ids"]


def test_calibration_shows_training_documents_only(opened: Callable[..., MultiLabel], tiny_model: Model) -> None:
    task = opened()
    data = TaskData(task, tiny_model.tokenizer, 32)
    train = set(task.examples.members("train").tolist())
    drawn = [[i for batch in data.calibration(9, seed) for i in batch["index"].tolist()] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] and set(drawn[0]) != set(drawn[2])
    assert all(len(one) == 9 and set(one) <= train for one in drawn)
    assert {i for batch in data.calibration(10**6) for i in batch["index"].tolist()} == train


@pytest.mark.parametrize("scope", ["global", "per_label"])
def test_thresholds_see_validation_targets_only(opened: Callable[..., MultiLabel], scope: str) -> None:
    task = opened(thresholds=scope)
    members = {split: task.examples.members(split) for split in SPLITS}
    logits = np.random.default_rng(0).normal(size=(len(members["validation"]), 4))
    before = task.fit_thresholds(task.probabilities(logits)), task.validation_metrics(logits), task.prior()
    changed = task.examples.targets.copy()
    changed[members["test"]] ^= True
    task.__dict__["examples"] = replace(task.examples, targets=changed)
    after = task.fit_thresholds(task.probabilities(logits)), task.validation_metrics(logits), task.prior()
    np.testing.assert_array_equal(before[0], after[0])
    assert before[1] == after[1] and torch.equal(before[2], after[2])
    changed[members["validation"]] ^= True
    assert task.validation_metrics(logits) != before[1]


def test_the_prior_is_the_logit_of_smoothed_frequencies(opened: Callable[..., MultiLabel]) -> None:
    task = opened()
    train = task.examples.targets[task.examples.members("train")]
    shares = [(sum(map(bool, column)) + 1) / (len(train) + 2) for column in train.T]
    np.testing.assert_allclose(task.prior().numpy(), np.log([p / (1 - p) for p in shares]), rtol=1e-5)
    task.__dict__["examples"] = replace(task.examples, targets=np.zeros_like(task.examples.targets))
    assert task.prior().isfinite().all()


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=5), st.integers(0, 99))
def test_the_loss_is_the_mean_cross_entropy(targets: list[list[bool]], seed: int) -> None:
    logits = torch.randn(len(targets), 3, generator=torch.Generator().manual_seed(seed))
    expected = [
        -np.log(p if holds else 1 - p)
        for row, own in zip(logits.sigmoid().double().tolist(), targets, strict=True)
        for p, holds in zip(row, own, strict=True)
    ]
    loss = MultiLabel.loss(SimpleNamespace(weights=None), logits, torch.tensor(targets).float())  # type: ignore[arg-type]
    assert float(loss) == pytest.approx(np.mean(expected), rel=1e-4)
