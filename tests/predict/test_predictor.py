"""The callable for clusters answers as `clinlm predict` does, whatever the batches and the process."""

import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from clinlm.config.errors import ConfigError, DataError
from clinlm.predict import Predictor
from clinlm.predict.predictor import REJECTED
from clinlm.tasks.entities import Entities
from clinlm.training.tfidf_int8 import TfidfInt8

Run, Notes = Callable[..., Any], Sequence[tuple[str, str]]


@pytest.fixture(scope="module")
def folder(save_artifact: Callable[..., Path]) -> Path:
    return save_artifact(1)


def frame(notes: Notes) -> pl.DataFrame:
    return pl.DataFrame({"id": [id for id, _ in notes], "text": [text for _, text in notes]})


def test_answers_are_those_of_the_command(
    folder: Path, notes: Notes, run: Run, write_notes: Any, tmp_path: Path
) -> None:
    run(write_notes(notes, tmp_path / "notes.parquet"), tmp_path / "out.parquet", artifact=folder)
    expected = pl.read_parquet(tmp_path / "out.parquet").drop("line")
    found = Predictor(folder)(frame(notes))
    assert found.columns == [*expected.columns, REJECTED] and found[REJECTED].is_null().all()
    same(found.drop(REJECTED), expected)


def same(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    """Check that answers are equal, probabilities but for the order of sums, which depends on the rows of a batch."""
    assert found.drop("probabilities").equals(expected.drop("probabilities"))
    a, b = (own["probabilities"].struct.unnest().to_numpy() for own in (found, expected))
    assert abs(a - b).max() <= 1e-5


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_batches_change_nothing_but_the_order_of_sums(folder: Path, notes: Notes, size: int) -> None:
    whole, predictor = frame(notes), Predictor(folder)
    parts = pl.concat(predictor.batches(whole.iter_slices(size)))
    same(parts, predictor(whole))


def test_every_row_is_answered_or_says_why_not(folder: Path, notes: Notes) -> None:
    texts: list[Any] = [None, "", "  \n", notes[0][1], "x" * 50]
    found = Predictor(folder, keep=())(pl.DataFrame({"text": texts}, schema={"text": pl.String()}))
    assert found[REJECTED].to_list()[:3] == ["no text", "the text is empty", "the text is empty"]
    assert found["labels"].is_null().to_list()[:4] == [True, True, True, False]
    numbers = Predictor(folder, keep=())(pl.DataFrame({"text": [1, 2]}))
    assert set(numbers[REJECTED]) == {"the text must be a string, got a int"}


def test_an_empty_batch_has_the_columns_of_any_other(folder: Path, notes: Notes) -> None:
    predictor = Predictor(folder)
    empty, full = predictor(frame(notes).clear()), predictor(frame(notes))
    assert empty.schema == full.schema and empty.is_empty()
    assert {name: full.schema[name] for name in predictor.schema()} == predictor.schema()


def test_it_is_sent_as_its_arguments_and_opens_in_the_worker(folder: Path, notes: Notes) -> None:
    predictor = Predictor(folder, keep=["id"])
    expected = predictor(frame(notes))
    assert predictor._models is not None
    sent = pickle.dumps(predictor)
    assert len(sent) < 1000 and pickle.loads(sent)._models is None
    assert pickle.loads(sent)(frame(notes)).equals(expected)


@pytest.mark.integration
def test_another_process_answers_the_same(folder: Path, notes: Notes) -> None:
    predictor = Predictor(folder)
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        assert pool.submit(predictor, frame(notes)).result().equals(predictor(frame(notes)))


def test_the_columns_of_a_tagger(entities: Entities, notes: Notes) -> None:
    assert entities.folder is not None
    member = TfidfInt8(entities.folder.parent, "key")
    member.fitted(entities)
    texts = entities.texts("test")
    found = Predictor(member.folder, keep=())(pl.DataFrame({"text": texts}))
    assert len(found) == len(texts) and found.schema["spans"].base_type() == pl.List


def test_pyarrow_comes_back_as_it_went(folder: Path, notes: Notes) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="clinlm does not need pyarrow; engines that use it bring it")
    whole, predictor = frame(notes), Predictor(folder)
    table = pyarrow.table(whole)
    found, expected = predictor(table), predictor(whole)
    assert isinstance(found, pyarrow.Table) and pl.DataFrame(found).equals(expected)
    for batch in (table.to_batches()[0], pyarrow.RecordBatch.from_pylist([], schema=table.schema)):
        answers = predictor(batch)
        assert isinstance(answers, pyarrow.RecordBatch) and len(answers) == len(batch)
        assert answers.schema == found.schema


def test_wrong_settings_and_columns_are_refused(folder: Path, notes: Notes) -> None:
    with pytest.raises(ConfigError, match="without the notes in 'text'"):
        Predictor(folder, keep=("id", "text"))
    with pytest.raises(ConfigError, match="must be a list of columns"):
        Predictor(folder, keep="id")
    with pytest.raises(ConfigError, match="coverage must be one of"):
        Predictor(folder, coverage=0.5)
    labelled = frame(notes).with_columns(pl.lit("fever").alias("labels"))
    with pytest.raises(DataError, match="keep must not have columns of the answers, got labels"):
        Predictor(folder, keep=("id", "labels"))(labelled)
    with pytest.raises(DataError, match="got none named note, patient;"):
        Predictor(folder, text="note", keep=("id", "patient"))(frame(notes))
