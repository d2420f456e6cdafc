"""What comes out is what a loop over single notes would say, in every format, in order, whatever the notes hold."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinlm.predict.model_runner import batches
from clinlm.store.content import RECORD, with_digest
from clinlm.tasks.inference_config import InferenceConfig

INPUTS = (".jsonl", ".ndjson", ".jsonl.gz", ".csv", ".csv.gz", ".tsv", ".parquet")
OUTPUTS = (".jsonl", ".csv", ".parquet")
Run, Notes = Callable[..., Any], Sequence[tuple[str, str]]


@pytest.fixture(scope="module")
def expected(
    notes: Notes, model_folder: Path, shadow_folder: Path, one_by_one: Callable[..., np.ndarray]
) -> dict[str, np.ndarray]:
    texts = [text for _, text in notes]
    return {"": one_by_one(model_folder, texts), "shadow_": one_by_one(shadow_folder, texts)}


def check(found: list[dict[str, Any]], notes: Notes, folder: Path, expected: np.ndarray, prefix: str = "") -> None:
    serving = InferenceConfig.load(folder)
    assert [item["id"] for item in found] == [id for id, _ in notes], "every note once, in the order of the input"
    values = np.array([[item[f"{prefix}probabilities"][label] for label in serving.labels] for item in found])
    np.testing.assert_allclose(values, expected, atol=2e-6)
    assert len({tuple(row) for row in values.round(4).tolist()}) > 30, "notes differ"
    decided = serving.decide(expected)
    near = np.isclose(expected, serving.thresholds, atol=1e-5)
    said = np.array([[label in item[f"{prefix}labels"] for label in serving.labels] for item in found])
    assert (said == decided)[~near].all() and decided.any() and not decided.all()


@pytest.mark.parametrize("place", range(len(INPUTS)))
def test_the_answers_are_those_of_a_loop_over_single_notes(
    tmp_path: Path,
    place: int,
    run: Run,
    notes: Notes,
    write_notes: Any,
    answers: Any,
    model_folder: Path,
    expected: Any,
) -> None:
    output = tmp_path / f"answers{OUTPUTS[place % len(OUTPUTS)]}"
    done = run(write_notes(notes, tmp_path / f"notes{INPUTS[place]}"), output)
    check(answers(output), notes, model_folder, expected[""])
    assert (done.documents, done.rejects, done.complete) == (len(notes), 0, True)
    there = {path.name for path in tmp_path.iterdir()}
    assert there == {f"notes{INPUTS[place]}", output.name, f"{output.name}.progress.json"}, (
        "nothing else is left behind"
    )


@pytest.mark.parametrize("suffix", OUTPUTS)
def test_both_models_answer_with_a_shadow(
    tmp_path: Path,
    suffix: str,
    run: Run,
    notes: Notes,
    write_notes: Any,
    answers: Any,
    model_folder: Path,
    shadow_folder: Path,
    expected: Any,
) -> None:
    output = tmp_path / f"answers{suffix}"
    done = run(write_notes(notes, tmp_path / "notes.csv"), output, shadow=shadow_folder)
    found = answers(output)
    check(found, notes, model_folder, expected[""])
    check(found, notes, shadow_folder, expected["shadow_"], "shadow_")
    summary = json.loads((tmp_path / f"answers{suffix}.shadow.json").read_text())
    alike = np.array([item["labels"] == item["shadow_labels"] for item in found])
    assert summary["agreement"]["documents"] == pytest.approx(alike.mean()) and 0 < alike.mean() < 1
    apart = np.abs(expected[""] - expected["shadow_"])
    assert summary["agreement"]["mean_absolute_difference"] == pytest.approx(apart.mean(), rel=1e-4)
    assert summary["documents"] == done.documents == len(notes)
    for label, at in summary["labels"].items():
        assert at["rate"] == pytest.approx(np.mean([label in item["labels"] for item in found]))
        assert at["shadow_rate"] == pytest.approx(np.mean([label in item["shadow_labels"] for item in found]))


def test_neither_windows_nor_threads_nor_batches_change_an_answer(
    tmp_path: Path, run: Run, notes: Notes, write_notes: Any, answers: Any, model_folder: Path, expected: Any
) -> None:
    path = write_notes(notes, tmp_path / "notes.jsonl")
    for window, threads, tokens in ((1, 1, 1), (7, 3, 64), (4096, 2, 100_000)):
        output = tmp_path / f"{window}.jsonl"
        run(path, output, window=window, threads=threads, batch_tokens=tokens)
        check(answers(output), notes, model_folder, expected[""])


def test_a_copy_without_its_record_answers_the_same(
    tmp_path: Path, run: Run, notes: Notes, write_notes: Any, model_folder: Path
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in model_folder.rglob("*"):
        if path.is_file() and path.name != RECORD:
            (copy / path.relative_to(model_folder)).parent.mkdir(exist_ok=True)
            (copy / path.relative_to(model_folder)).write_bytes(path.read_bytes())
    path = write_notes(notes, tmp_path / "notes.jsonl")
    run(path, tmp_path / "a.jsonl")
    run(path, tmp_path / "b.jsonl", artifact=copy)
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


@pytest.mark.parametrize("suffix", OUTPUTS)
def test_an_input_without_a_note_has_an_output_without_an_answer(
    tmp_path: Path, run: Run, suffix: str, answers: Any
) -> None:
    (tmp_path / "notes.csv").write_text("id,text\n")
    output = tmp_path / f"answers{suffix}"
    assert run(tmp_path / "notes.csv", output).documents == 0
    assert answers(output) == []


@pytest.mark.parametrize("suffix", OUTPUTS)
def test_answers_are_for_their_owner_only(
    tmp_path: Path, suffix: str, run: Run, notes: Notes, write_notes: Any, shadow_folder: Path
) -> None:
    """Whatever the umask, and whatever rights the file of an interrupted run had."""
    path = write_notes([*notes[-3:], ("long " * 9, "a note")], tmp_path / "notes.jsonl")
    before = os.umask(0)
    try:
        output = tmp_path / f"answers{suffix}"
        run(path, output, id="id", shadow=shadow_folder)
        journal = tmp_path / f"{output.name}.progress.json"
        if suffix != ".parquet":
            for written in (output, tmp_path / f"{output.name}.rejects.jsonl", journal):
                written.chmod(0o666)
            facts = {name: own for name, own in json.loads(journal.read_text()).items() if name != "digest"}
            journal.write_text(json.dumps(with_digest(facts | {"complete": False}, journal.name)))
            run(path, output, id="id", shadow=shadow_folder)
    finally:
        os.umask(before)
    made = {one.name: oct(one.stat().st_mode & 0o777) for one in tmp_path.iterdir() if one != path}
    endings = ("", ".progress.json", ".rejects.jsonl", ".shadow.json")
    assert made == {f"answers{suffix}{ending}": "0o600" for ending in endings}


@given(st.lists(st.integers(0, 50), max_size=60), st.integers(1, 80))
def test_batches_hold_every_row_once_and_keep_to_their_tokens(lengths: list[int], tokens: int) -> None:
    found = list(batches(lengths, tokens))
    assert sorted(place for batch in found for place in batch) == [i for i, length in enumerate(lengths) if length]
    for batch in found:
        assert len(batch) == 1 or len(batch) * max(lengths[place] for place in batch) <= tokens
    longest = [max(lengths[place] for place in batch) for batch in found]
    assert longest == sorted(longest, reverse=True)
