"""`coverage=` writes sets and abstentions: those of the thresholds in serving.json, in every format, resumed or not."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinlm.metrics.conformal import ConformalThresholds
from clinlm.metrics.prediction_sets import PredictionSets
from clinlm.predict import durable_file
from clinlm.predict.model_answerer import show_predictions
from clinlm.predict.possible_spans import further_spans, sure_spans
from clinlm.predict.settings import PredictSettings
from clinlm.store.content import RECORD
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.text.tags import Tags
from clinlm.text.words import words

OUTPUTS = (".jsonl", ".csv", ".parquet")
Run = Callable[..., Any]


def calibrated(folder: Path, place: Path, own: ConformalThresholds) -> Path:
    """A copy of a model with thresholds for its sets."""
    shutil.copytree(folder, place)
    (place / RECORD).unlink()
    replace(InferenceConfig.load(folder), conformal=(own,)).save(place)
    return place


@pytest.fixture(scope="module", name="notes")
def some_notes(notes: Any) -> Any:
    """Forty of the notes, none of them very long: three windows."""
    return notes[6:46]


@pytest.fixture(scope="module")
def thresholds() -> ConformalThresholds:
    return ConformalThresholds(0.9, 0.4, present=(0.3, 0.4, 0.45, 0.5), absent=(0.4, 0.5, 0.4, 0.6))


@pytest.fixture(scope="module")
def folder(model_folder: Path, thresholds: ConformalThresholds, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return calibrated(model_folder, tmp_path_factory.mktemp("sets") / "model", thresholds)


def read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if path.suffix == ".parquet":
        return pl.read_parquet(path).to_dicts()
    with path.open(encoding="utf-8", newline="") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    for row in rows:
        for name in ("labels", "possible", "undecided"):
            row[name] = [one for one in row[name].split(";") if one]
        row["abstained"] = {"true": True, "false": False}[row["abstained"]]
    return rows


@pytest.mark.parametrize("suffix", OUTPUTS)
def test_sets_are_those_of_the_thresholds(
    suffix: str,
    run: Run,
    notes: Any,
    write_notes: Any,
    folder: Path,
    thresholds: ConformalThresholds,
    one_by_one: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / f"answers{suffix}"
    told = {"artifact": folder, "coverage": 0.9}
    done = run(write_notes(notes, tmp_path / "notes.csv"), output, **told)
    found, serving = read(output), InferenceConfig.load(folder)
    values = one_by_one(folder, [text for _, text in notes])
    sets = PredictionSets.of(values, serving.decide(values), thresholds, "multilabel")
    sure = (np.abs(values[:, :, None] - np.array([[0.4, *each] for each in zip(
        thresholds.present, thresholds.absent, serving.thresholds, strict=True)])) > 1e-5).all(axis=(1, 2))  # fmt: skip
    for name in ("possible", "undecided"):
        said = np.array([[label in row[name] for label in serving.labels] for row in found])
        assert (said == getattr(sets, name))[sure].all() and said.any() and not said.all()
    abstained = np.array([row["abstained"] for row in found])
    assert (abstained == sets.abstained)[sure].all() and 0 < abstained.sum() < len(found)
    assert done.totals == {
        "notes": len(found),
        "abstained": abstained.sum(),
        "possible": sum(len(row["possible"]) for row in found),
    }
    show_predictions(
        PredictSettings.of([f"{k}={v}" for k, v in {"input": "x", "output": output, **told}.items()]), done
    )
    assert f"on {abstained.mean():.1%} of notes" in capsys.readouterr().out


def test_a_run_that_is_stopped_continues_with_its_sets(
    run: Run, notes: Any, write_notes: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_notes(notes, tmp_path / "notes.jsonl")
    whole = run(source, tmp_path / "whole.csv", artifact=folder, coverage=0.9)
    written, write = [0], durable_file.AppendedFile.write

    def stop(self: Any, data: bytes) -> None:
        written[0] += 1
        if written[0] == 6:
            raise KeyboardInterrupt
        write(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(durable_file.AppendedFile, "write", stop)
        with pytest.raises(KeyboardInterrupt):
            run(source, tmp_path / "parts.csv", artifact=folder, coverage=0.9)
    with pytest.raises(ValueError, match=r"another coverage \(0.9 before, None now\)"):
        run(source, tmp_path / "parts.csv", artifact=folder)
    done = run(source, tmp_path / "parts.csv", artifact=folder, coverage=0.9)
    assert (tmp_path / "parts.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert done.totals == whole.totals


def test_a_shadow_has_its_own_sets(
    run: Run, notes: Any, write_notes: Any, folder: Path, shadow_folder: Path, tmp_path: Path
) -> None:
    everything = ConformalThresholds(0.9, 0.0, present=(0.0,) * 4, absent=(1.0,) * 4)
    shadow = calibrated(shadow_folder, tmp_path / "shadow", everything)
    source = write_notes(notes, tmp_path / "notes.jsonl")
    run(source, tmp_path / "both.jsonl", artifact=folder, shadow=shadow, coverage=0.9)
    found = read(tmp_path / "both.jsonl")
    assert all(len(row["shadow_possible"]) == len(row["shadow_undecided"]) == 4 for row in found)
    assert all(row["shadow_abstained"] for row in found) and not all(row["abstained"] for row in found)


def test_without_a_coverage_nothing_changes(
    run: Run, notes: Any, write_notes: Any, folder: Path, model_folder: Path, tmp_path: Path
) -> None:
    source = write_notes(notes, tmp_path / "notes.jsonl")
    done = run(source, tmp_path / "a.jsonl", artifact=folder)
    run(source, tmp_path / "b.jsonl", artifact=model_folder)
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes() and done.totals == {}


def test_models_without_thresholds_and_other_coverages_are_refused(
    run: Run, notes: Any, write_notes: Any, folder: Path, model_folder: Path, tmp_path: Path
) -> None:
    source = write_notes(notes, tmp_path / "notes.jsonl")
    for given_settings, told in (
        ({"artifact": model_folder}, "an older version wrote it; run its pipeline again"),
        ({"artifact": folder, "shadow": model_folder}, "an older version wrote it; run its pipeline again"),
        ({"artifact": folder, "coverage": 0.8}, "must be one of 0.9, for which the serving.json of"),
        ({"artifact": folder, "coverage": 0.5}, "must be one of 0.8, 0.9, 0.95, or null"),
        ({"artifact": folder, "coverage": "much"}, "coverage must be a number, got 'much'"),
    ):
        with pytest.raises(ValueError, match=told):
            run(source, tmp_path / "answers.csv", **{"coverage": 0.9} | given_settings)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("answers")] == []


# Spans.

TAGS = Tags.of(("X", "Y"))
AROUND = words("one two three four five")


def sets_of(possible: np.ndarray) -> PredictionSets:
    count = possible.sum(axis=1)
    return PredictionSets(possible, possible, np.ones_like(possible), possible, count != 1)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=5, max_size=5), st.integers(0, 10_000))
def test_every_possible_span_is_sure_or_lies_in_one_that_is_said_to_be_possible(cells: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    likely = rng.integers(0, 5, 5)
    possible = np.array(cells)
    possible[np.arange(5), likely] |= possible.any(axis=1)  # the most probable tag is in every set that is not empty
    sets, spans = sets_of(possible), TAGS.decode(likely, AROUND)
    known = sure_spans(spans, sets, AROUND, TAGS)
    sure = [span for span, is_sure in zip(spans, known, strict=True) if is_sure]
    further = further_spans(sure, sets, AROUND, TAGS)
    assert not set(further) & set(sure)
    for _ in range(8):  # tags at random among those that are possible
        if not possible.any(axis=1).all():
            break
        tags = np.array([rng.choice(np.flatnonzero(row)) for row in possible])
        decoded = TAGS.decode(tags, AROUND)
        assert set(sure) <= set(decoded), "a sure span is found whatever the others are"
        for span in decoded:
            within = [one for one in [*further, *sure] if one.label == span.label]
            assert any(one.start <= span.start and span.end <= one.end for one in within)


@pytest.mark.parametrize("suffix", OUTPUTS)
def test_spans_are_sure_or_not(
    suffix: str, run: Run, notes: Any, write_notes: Any, tagger_folder: Path, tmp_path: Path
) -> None:
    tagger = calibrated(tagger_folder, tmp_path / "tagger", ConformalThresholds(0.9, 0.3))
    output = tmp_path / f"spans{suffix}"
    done = run(write_notes(notes, tmp_path / "notes.jsonl"), output, artifact=tagger, coverage=0.9)
    if suffix == ".csv":
        with output.open(encoding="utf-8", newline="") as file:
            cells = [row for row in csv.DictReader(file)]
        names = ("spans", "possible", "abstained")
        rows = [{name: json.loads(row[name]) for name in names} for row in cells]
    else:
        rows = read(output)
    assert {*rows[0]} >= {"spans", "possible", "abstained"}
    spans = [span for row in rows for span in row["spans"]]
    assert all({*span} == {"start", "end", "label", "probability", "sure"} for span in spans)
    assert {span["sure"] for span in spans} == {True, False}
    assert done.totals["notes"] == len(rows) and done.totals["abstained"] == sum(row["abstained"] for row in rows)
    assert any(row["possible"] for row in rows)
