"""Laws of kept answers: nobody is asked twice, nothing is lost to a kill, and nothing kept holds a word of a note."""

import json
import logging
import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.marking import Marker

from clinlm.corpora.base import Corpus, Records
from clinlm.labelers import answer_cache
from clinlm.labelers.answer_cache import label_notes, labeler_key
from clinlm.labelers.answer_database import AnswerDatabase
from clinlm.labelers.base import UNANSWERED, LabeledNote, Labeler, LabelingStopped, LabelTotals, Note
from clinlm.labelers.human import Human
from clinlm.labelers.intersection import Intersection
from clinlm.labelers.union import Union
from clinlm.terminology.spans import Span


class Nothing(Corpus):
    """A corpus that is never read."""

    def records(self) -> Records:
        raise AssertionError("nothing is read")

    def fingerprint(self) -> str:
        raise AssertionError("nothing is read")


class Sworn(Nothing):
    remote_allowed = False


TEXTS = ["ague and boils", "boils \U0001f600 ague", "neither", "ague and boils", "half a pair \ud800 of boils"]
NOTES = [Note(text) for text in TEXTS]


@pytest.fixture
def marker(tmp_path: Path) -> Callable[..., Marker]:
    """Return what makes a marker that writes down what it is asked; those that share a name share the file."""

    def made(*words: str, name: str = "asked", **settings: Any) -> Marker:
        return Marker(words, asked=str(tmp_path / name), **settings)

    return made


def answers(labeler: Labeler, root: Path, notes: Sequence[Note] = NOTES, again: bool = False) -> list[LabeledNote]:
    return label_notes(labeler, notes, root / "store", Nothing(), again)


def database(labeler: Labeler, root: Path) -> Path:
    return root / "store" / f"labels-{labeler_key(labeler)}" / "answers.sqlite"


def test_answers_are_those_of_the_labeler_and_asked_for_once(tmp_path: Path, marker: Callable[..., Marker]) -> None:
    ague = marker("ague")
    found = answers(ague, tmp_path)
    assert found == list(Marker(["ague"]).label(NOTES))
    assert ague.questions() == list(dict.fromkeys(TEXTS)), "the note that comes twice is asked for once"
    assert answers(ague, tmp_path, NOTES[::-1]) == found[::-1]
    assert answers(marker("ague"), tmp_path, [*NOTES, Note("more ague")])[:-1] == found
    assert ague.questions()[4:] == ["more ague"], "only what is not there"
    assert answers(marker("ague", label_as="SYMPTOM"), tmp_path)[0].spans == ((0, 4, "SYMPTOM"),)
    assert len(ague.questions()) == 9, "other settings are another labeler"


def test_combinations_ask_nobody_twice(tmp_path: Path, marker: Callable[..., Marker]) -> None:
    both = {"ague": marker("ague"), "boils": marker("boils", name="boils"), "people": Human()}
    notes = [Note(one.text, (Span(0, 4, "DISEASE"),)) for one in NOTES]
    for combination in (Union(both), Intersection(both), Union({"inner": Union(both), "ague": both["ague"]})):
        answers(combination, tmp_path, notes)
    assert marker().questions() == list(dict.fromkeys(TEXTS))
    plain = {"ague": Marker(["ague"]), "boils": Marker(["boils"]), "people": Human()}
    assert answers(Union(both), tmp_path, notes) == list(Union(plain).label(notes))
    assert len(list((tmp_path / "store").glob("labels-*"))) == 2, "neither combinations nor people are kept"


def test_people_are_not_kept(tmp_path: Path) -> None:
    for spans in [(Span(0, 4, "A"),), (Span(0, 4, "B"),)]:
        assert answers(Human(), tmp_path, [Note("same", spans)])[0].spans == spans
    assert not (tmp_path / "store").exists()


def test_no_word_of_a_note_is_kept(tmp_path: Path, marker: Callable[..., Marker]) -> None:
    answers(marker("ague", "boils"), tmp_path)
    kept = b"".join(path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file())
    assert b"DISEASE" in kept and b"ague" not in kept and b"boils" not in kept
    assert (tmp_path / "store").stat().st_mode & 0o77 == 0


def test_a_killed_process_loses_no_answer(tmp_path: Path, marker: Callable[..., Marker]) -> None:
    """Answers are stored one by one: a child is killed after the third one, without closing the file."""
    ague = marker("ague")
    folder = database(ague, tmp_path).parent
    child = os.fork()
    if not child:
        stored = AnswerDatabase(folder)
        with stored.writing():
            for note, answer in zip(NOTES[:3], Marker(["ague"]).label(NOTES[:3]), strict=True):
                stored.keep(note.text, answer)
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert answers(ague, tmp_path) == list(Marker(["ague"]).label(NOTES))
    assert ague.questions() == TEXTS[4:], "only what is not there"


def test_a_transaction_that_was_cut_off_is_asked_again(tmp_path: Path, marker: Callable[..., Marker]) -> None:
    """A torn write-ahead log, as a power cut leaves it, holds the answers before the tear."""
    ague, wanted = marker("ague"), list(Marker(["ague"]).label(NOTES))
    with closing(AnswerDatabase(tmp_path / "whole")) as stored:
        with stored.writing():
            for note, answer in zip(NOTES, wanted, strict=True):
                stored.keep(note.text, answer)
        log = stored.path.with_name("answers.sqlite-wal").read_bytes()
        main = stored.path.read_bytes()
    path = database(ague, tmp_path)
    path.parent.mkdir(parents=True)
    for cut in (0, 40, len(log) // 2, len(log) - 10, len(log)):
        path.write_bytes(main)
        path.with_name("answers.sqlite-wal").write_bytes(log[:cut])
        assert answers(ague, tmp_path) == wanted


def test_a_damaged_answer_is_reported_and_asked_again(
    tmp_path: Path, marker: Callable[..., Marker], caplog: pytest.LogCaptureFixture
) -> None:
    ague = marker("ague")
    found = answers(ague, tmp_path)
    asked = len(ague.questions())
    with closing(sqlite3.connect(database(ague, tmp_path))) as connection:
        changed = connection.execute("UPDATE answers SET spans = replace(spans, '[0, 4', '[0, 5')").rowcount
        connection.commit()
    assert changed == 4
    assert answers(ague, tmp_path) == found and "is damaged; the labeler is asked again" in caplog.text
    assert ague.questions()[asked:] == [TEXTS[0]], "an offset that changed is seen; the other answers are sound"


@pytest.mark.parametrize("size", [0, 100, 4096])
def test_a_damaged_file_is_reported_and_set_aside(
    tmp_path: Path, marker: Callable[..., Marker], caplog: pytest.LogCaptureFixture, size: int
) -> None:
    ague = marker("ague")
    found = answers(ague, tmp_path)
    path = database(ague, tmp_path)
    broken = path.read_bytes()[:size] + b"broken" * 2000
    path.write_bytes(broken)
    asked = len(ague.questions())
    assert answers(ague, tmp_path, NOTES[1:2]) == found[1:2]
    assert "is damaged; set aside as damaged-" in caplog.text
    (aside,) = path.parent.glob("damaged-*")
    assert aside.read_bytes() == broken
    assert answers(ague, tmp_path) == found and len(ague.questions()) == asked + 4


def test_what_failed_stays_failed_until_asked_for_again(tmp_path: Path, marker: Callable[..., Marker]) -> None:
    notes = [Note("ague"), Note("ague unanswerable")]
    first = answers(marker("ague"), tmp_path, notes)
    assert [one.failed for one in first] == ["", "it cannot be answered"]
    mended = marker("ague", fails="nothing fails")
    assert answers(mended, tmp_path, notes) == first and len(mended.questions()) == 2
    again = answers(mended, tmp_path, [*notes, notes[1]], again=True)
    assert mended.questions()[2:] == ["ague unanswerable"]
    assert again == [first[0], *[LabeledNote((Span(0, 4, "DISEASE"),), 1.0, 4, 2, retries=1)] * 2], "all that was paid"
    assert answers(mended, tmp_path, notes) == again[:2], "the last answer counts"


def test_a_budget_stops_and_the_next_run_goes_on(tmp_path: Path, marker: Callable[..., Marker]) -> None:
    notes = [Note("ague"), Note("no ague"), Note("expensive ague"), Note("an ague")]
    with pytest.raises(LabelingStopped, match="set a larger one; 2 of 4 requested notes are answered and kept in"):
        answers(Union({"a": marker("ague")}), tmp_path, notes)
    rich = marker("ague", stops="nothing stops")
    assert len(answers(Union({"a": rich}), tmp_path, notes)) == 4
    assert rich.questions() == ["ague", "no ague", "expensive ague", "an ague"]


def test_a_note_under_way_when_a_run_was_stopped_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A language model yields such notes with what was paid for them, then stops."""

    def stopped(self: Marker, notes: Sequence[Note]) -> Iterator[LabeledNote]:
        yield LabeledNote(prompt_tokens=7, failed=UNANSWERED)
        raise LabelingStopped("no money left; give more")

    with monkeypatch.context() as patch, pytest.raises(LabelingStopped, match="1 of 2 requested notes"):
        patch.setattr(Marker, "label", stopped)
        answers(Marker(["ague"]), tmp_path, [Note("ague"), Note("no ague")])
    found = answers(Marker(["ague"]), tmp_path, [Note("ague"), Note("no ague")])
    assert [(one.failed, one.prompt_tokens) for one in found] == [("", 9), ("", 2)]


def test_two_processes_share_what_they_find(tmp_path: Path, marker: Callable[..., Marker]) -> None:
    """Threads stand for them: the lock is one of open files."""
    notes = [Note(f"ague {number}") for number in range(200)]
    found: list[list[LabeledNote]] = []
    threads = [
        threading.Thread(target=lambda some: found.append(answers(marker("ague"), tmp_path, some)), args=(some,))
        for some in (notes, notes[::-1], notes[50:150])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(len, found)) == [100, 200, 200]
    asked = marker("ague").questions()
    assert len(asked) == len(set(asked)) == 200


def test_a_reader_finds_what_another_wrote_since(tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    with closing(AnswerDatabase(folder)) as reader, closing(AnswerDatabase(folder)) as writer:
        for text in ("one", "two"):
            with writer.writing():
                writer.keep(text, LabeledNote(seconds=1.0))
            with reader.writing():
                assert reader.get(text) == LabeledNote(seconds=1.0)


@pytest.mark.parametrize(("corpus", "told"), [(Sworn(), "data use agreement"), (Nothing(), "allow_remote")])
def test_nothing_is_read_before_it_is_known_that_notes_may_leave(
    tmp_path: Path, corpus: Corpus, told: str, marker: Callable[..., Marker]
) -> None:
    away = marker("ague", address="https://example.org/v1")
    with pytest.raises(ValueError, match=told):
        label_notes(Union({"away": away}), NOTES, tmp_path / "store", corpus)
    assert not (tmp_path / "store").exists() and not away.questions()


@pytest.mark.parametrize(
    "spans",
    [(Span(0, 9, "A"),), (Span(0, 2, "A"), Span(1, 3, "A")), (Span(2, 3, "A"), Span(0, 1, "A")), (Span(1, 1, "A"),)],
)
def test_a_broken_promise_is_told_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spans: tuple[Span, ...]
) -> None:
    monkeypatch.setattr(Marker, "label", lambda self, notes: (LabeledNote(spans) for _ in notes))
    with pytest.raises(RuntimeError, match="Marker returned others"):
        answers(Marker(["a"]), tmp_path, [Note("text")])
    monkeypatch.setattr(Marker, "label", lambda self, notes: iter(()))
    with pytest.raises(RuntimeError, match="Marker ended early"):
        answers(Marker(["a"]), tmp_path, [Note("text")])
    with closing(AnswerDatabase(database(Marker(["a"]), tmp_path).parent)) as stored:
        assert stored.get("text") is None


def test_one_line_says_what_came_out(
    tmp_path: Path, marker: Callable[..., Marker], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "clinlm")
    answers(marker("ague"), tmp_path, [*NOTES, Note("unanswerable")])
    answers(marker("ague"), tmp_path)
    told = [one.getMessage() for one in caplog.records if one.name == answer_cache.__name__]
    assert told == [
        "6 notes: DISEASE 3; 1 failed; 5 new answers took 2.5 s, 10 + 5 tokens",
        "5 notes: DISEASE 3; all answers were cached",
    ]


def test_a_tally_is_json(tmp_path: Path) -> None:
    tally = LabelTotals()
    tally.add(LabeledNote((Span(0, 1, "A"), Span(1, 2, "A")), 1.0, 2, 3, "", 4, 5))
    assert json.loads(json.dumps(vars(tally))) == vars(tally) | {"spans": {"A": 2}}


class Late(Labeler):
    """Answers every note, and raises its reason to stop after the last."""

    def label(self, notes: Sequence[Note]) -> Iterator[LabeledNote]:
        for _ in notes:
            yield LabeledNote(failed=UNANSWERED)
        raise LabelingStopped("a limit is reached")

    def fingerprint(self) -> str:
        return "late"


def test_a_reason_to_stop_is_not_lost_after_the_last_answer(tmp_path: Path) -> None:
    with pytest.raises(LabelingStopped, match="a limit is reached"):
        answers(Late(), tmp_path)
