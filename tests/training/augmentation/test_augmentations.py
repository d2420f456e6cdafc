"""Laws of every augmentation that `conf/` knows, and what each does to a note."""

import csv
import io
import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from support.wards import SECTIONS, WAYS, made, opened, write

from clinlm.corpora.split import SPLITS
from clinlm.tasks.multilabel import MultiLabel
from clinlm.text.sections import split_sections
from clinlm.training.augmentation.base import new, normalised
from clinlm.training.augmentation.mixing import Mixing
from clinlm.training.augmentation.remaining_notes import RemainingNotes
from clinlm.training.augmentation.several import Several
from clinlm.training.augmentation.shuffle_sections import ShuffleSections
from clinlm.training.augmentation.shuffle_sentences import ShuffleSentences

WORD = "zyxqw"


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("notes") / "notes.csv")


@pytest.fixture(scope="module")
def task(notes: Path, tmp_path_factory: pytest.TempPathFactory) -> MultiLabel:
    """Fewer training documents than there are, so that some remain."""
    return opened(notes, tmp_path_factory.mktemp("store"), training_documents=14)


@pytest.fixture(scope="module")
def planted(task: MultiLabel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MultiLabel]:
    """The same task, but for a word of its own in every document of validation and test."""
    frame, folder = task.examples.frame, tmp_path_factory.mktemp("planted")
    held_out = frame.filter(frame["split"] != "train")["id"].to_list()
    path = write(folder / "notes.csv", planted={int(name[1:]): WORD + "abcdefghij"[int(name[-1])] for name in held_out})
    other = opened(path, folder, training_documents=14)
    assert other.examples.frame.drop("text").equals(frame.drop("text"))
    assert WORD in " ".join(other.texts("test")) and WORD in " ".join(other.texts("validation"))
    return path, other


@pytest.mark.parametrize("way", WAYS)
def test_nothing_of_validation_and_test_gets_in(
    way: str, notes: Path, task: MultiLabel, planted: tuple[Path, MultiLabel], tmp_path: Path, language_model: Path
) -> None:
    """Their words do not, and whatever they say changes nothing."""
    path, other = planted
    found = made(way, path, tmp_path / "store", language_model).texts(other, 0)
    assert found and not any(WORD in text.lower() for text in found)
    assert found == made(way, notes, tmp_path / "store", language_model).texts(task, 0)


@pytest.mark.parametrize("way", WAYS)
def test_texts_are_new_full_and_follow_from_the_seed(
    way: str, notes: Path, task: MultiLabel, tmp_path: Path, language_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    transfer = made(way, notes, tmp_path / "store", language_model)
    with caplog.at_level(logging.DEBUG):
        found = transfer.texts(task, 0)
    documents = {normalised(text) for split in SPLITS for text in task.texts(split)}
    forms = [normalised(text) for text in found]
    assert all(forms) and len({*forms}) == len(forms) and not documents & {*forms}
    if hasattr(transfer, "times"):
        assert len(found) <= transfer.times * len(task.texts("train"))
    assert transfer.texts(task, 0) == found and transfer.texts(task, 1) != found
    assert f"transfer set of {len(found)} texts" in caplog.text
    assert not any(line in caplog.text for text in found for line in text.splitlines() if len(line) > 20)


def test_what_is_left_out_is_counted(task: MultiLabel) -> None:
    train, test = task.texts("train")[0], task.texts("test")[0]
    left_out: Counter[str] = Counter()
    drafts = ["New one.", f" {train.upper()}", "new  ONE.", " \n", test.replace(" ", "\n"), "Another."]
    assert list(new(drafts, task, left_out)) == ["New one.", "Another."]
    assert left_out == {"in train": 1, "repeated": 1, "empty": 1, "in test": 1}


def test_nothing_new_is_told(task: MultiLabel, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"got no new one from RemainingNotes .* choose another"):
        RemainingNotes().texts(opened(Path(task.corpus.root), tmp_path), 0)  # type: ignore[attr-defined]


# What each does.


def test_sections_are_all_there_in_another_order(task: MultiLabel) -> None:
    known = {tuple(sorted(part.strip() for part in split_sections(text))) for text in task.texts("train")}
    for text in ShuffleSections(times=3).texts(task, 0):
        own = [part.strip() for part in split_sections(text)]
        assert tuple(sorted(own)) in known and len(own) > 1


def test_sentences_are_all_there_in_another_order(task: MultiLabel) -> None:
    known = {tuple(sorted(text.split())) for text in task.texts("train")}
    found = ShuffleSentences(times=2).texts(task, 0)
    assert all(tuple(sorted(text.split())) in known for text in found)
    assert any(not text.startswith(SECTIONS) for text in found), "sentences leave their sections"


@pytest.mark.parametrize("notes_of_a_text", [2, 3])
def test_mixed_texts_are_pieces_of_so_many_notes(task: MultiLabel, notes_of_a_text: int) -> None:
    every = task.texts("train")
    found = Mixing(notes=notes_of_a_text, times=1).texts(task, 0)
    seen = ["".join(text.split()) for text in every]
    for number, text in enumerate(found):
        lines = ["".join(line.split()) for line in text.splitlines() if line.strip()]
        assert all(any(line in one for one in seen) for line in lines)
        assert any(line in seen[number] for line in lines), "every training document gives to a text"
    lengths = [len(text.split()) for text in found]
    assert 0.6 < np.mean(lengths) / np.mean([len(text.split()) for text in every]) < 1.6


def test_pieces_of_a_note_keep_their_order(task: MultiLabel) -> None:
    every = [" ".join(text.split()) for text in task.texts("train")]
    for text in Mixing(notes=2, times=2).texts(task, 0):
        pieces = [" ".join(part.split()) for part in split_sections(text)]
        for own in every:
            alone = [piece for piece in pieces if own.count(piece) == 1 == sum(piece in one for one in every)]
            places = [own.find(piece) for piece in alone]
            assert places == sorted(places)


def test_other_notes_keep_away_from_groups_that_are_measured(task: MultiLabel, notes: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(notes.read_text(encoding="utf-8"), newline="")))
    chosen = task.examples.frame
    measured = set(chosen.filter(chosen["split"] != "train")["group"])
    free = {row["text"] for row in rows if row["group"] not in measured} - set(task.texts("train"))
    assert set(RemainingNotes().texts(task, 0)) == free
    assert len(RemainingNotes(documents=3).texts(task, 0)) == 3


def test_several_give_equal_shares(task: MultiLabel) -> None:
    several = Several({"mixing": Mixing(times=4), "sentences": ShuffleSentences(times=4)}, times=3)
    found = several.texts(task, 5)
    share = -(-3 * len(task.texts("train")) // 2)
    assert found == Mixing(times=4).texts(task, 5)[:share] + ShuffleSentences(times=4).texts(task, 6)[:share]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ShuffleSections(times=0), "augmentation.times must be at least 1"),
        (lambda: Mixing(notes=1), "augmentation.notes must be at least 2"),
        (lambda: RemainingNotes(documents=0), "augmentation.documents must be at least 1"),
        (lambda: Several({}), "got none"),
    ],
)
def test_settings_are_checked(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


def test_more_notes_than_there_are_cannot_be_mixed(task: MultiLabel) -> None:
    with pytest.raises(ValueError, match="at least 99 training documents, got 14"):
        Mixing(notes=99).texts(task, 0)
