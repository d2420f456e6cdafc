"""A tagger answers with spans: those that the task finds with the same artifact, in every format."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from clinlm.corpora.span_table import SpanTable
from clinlm.models import artifact
from clinlm.predict.drift import mcnemar_p, stability
from clinlm.predict.drift_monitor import PERIODS
from clinlm.predict.model_answerer import show_predictions
from clinlm.predict.model_runner import open_head
from clinlm.predict.predictions import SpanPredictions
from clinlm.predict.settings import PredictSettings
from clinlm.predict.span_comparison import SPAN_EDGES, SpanComparison
from clinlm.tasks.data import TaskData
from clinlm.tasks.entities import Entities
from clinlm.tasks.examples import EVERY
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.terminology.spans import Span
from clinlm.text.words import words
from clinlm.training.modules.base import predict

Run = Callable[..., Any]
FORMATS = [(".csv", ".jsonl"), (".jsonl", ".csv"), (".parquet", ".parquet")]


@pytest.fixture(scope="module")
def texts(entities: Entities) -> list[tuple[str, str]]:
    """The notes of the task, by their ids."""
    return list(entities.examples.frame.select("id", "text").iter_rows())


@pytest.fixture(scope="module")
def expected(entities: Entities, tagger_folder: Path) -> tuple[list[list[Span]], list[np.ndarray]]:
    """What the task finds with the artifact, and the probabilities that it gives the tags of the words."""
    model, serving = artifact.load(tagger_folder), InferenceConfig.load(tagger_folder)
    data = TaskData(entities, model.tokenizer, model.max_tokens)
    _, logits = predict(model.network, data.loader(entities.examples.members(EVERY)), entities.long_notes)
    judged = entities.evaluate(EVERY, serving.probabilities(logits), None)
    return judged.found, np.split(judged.probabilities, judged.word_start[1:-1])


def read(path: Path, prefix: str = "") -> list[list[tuple[Span, float]]]:
    """Read spans and their probabilities in any format."""
    if path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    elif path.suffix == ".parquet":
        rows = pl.read_parquet(path).to_dicts()
    else:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [{**row, f"{prefix}spans": json.loads(row[f"{prefix}spans"])} for row in csv.DictReader(file)]
    assert all(set(one) == {"start", "end", "label", "probability"} for row in rows for one in row[f"{prefix}spans"])
    return [[(Span(*list(one.values())[:3]), one["probability"]) for one in row[f"{prefix}spans"]] for row in rows]


@pytest.mark.parametrize(("given", "asked"), FORMATS)
def test_the_spans_are_those_that_the_task_finds(
    tmp_path: Path,
    given: str,
    asked: str,
    run: Run,
    texts: list[tuple[str, str]],
    write_notes: Any,
    tagger_folder: Path,
    expected: Any,
) -> None:
    output = tmp_path / f"spans{asked}"
    done = run(write_notes(texts, tmp_path / f"notes{given}"), output, artifact=tagger_folder)
    found, spans = read(output), expected[0]
    assert [[one for one, _ in own] for own in found] == spans
    counts = {label: sum(one.label == label for own in spans for one in own) for label in ("DISEASE", "MEDICATION")}
    assert done.predicted == counts and min(counts.values()) > 20
    assert done.totals == {"words": sum(map(len, expected[1])), "words_unread": 0, "documents_cut": 0}
    for (_, text), own, values in zip(texts, found, expected[1], strict=True):
        around = words(text).tolist()
        for span, probability in own:
            inside = [place for place, (start, end) in enumerate(around) if span.start <= start and end <= span.end]
            assert probability == pytest.approx(min(values[place].max() for place in inside), rel=1e-4)
            assert text[span.start : span.end].strip() == text[span.start : span.end] != ""


def test_neither_windows_nor_batches_change_a_span(
    tmp_path: Path, run: Run, texts: list[tuple[str, str]], write_notes: Any, tagger_folder: Path, expected: Any
) -> None:
    path = write_notes(texts, tmp_path / "notes.jsonl")
    for window, threads, tokens in ((1, 1, 1), (4096, 2, 100_000)):
        output = tmp_path / f"{window}.jsonl"
        run(path, output, artifact=tagger_folder, window=window, threads=threads, batch_tokens=tokens)
        assert [[one for one, _ in own] for own in read(output)] == expected[0]


def test_answers_are_a_corpus_again(
    tmp_path: Path, run: Run, texts: list[tuple[str, str]], write_notes: Any, tagger_folder: Path, expected: Any
) -> None:
    run(write_notes(texts, tmp_path / "notes.csv"), tmp_path / "spans.parquet", artifact=tagger_folder)
    answers = pl.read_parquet(tmp_path / "spans.parquet").with_columns(text=pl.Series([text for _, text in texts]))
    answers.with_columns(pl.col("spans").map_elements(_json, pl.String)).write_parquet(tmp_path / "table.parquet")
    frame = SpanTable(tmp_path / "table.parquet", id="id").records().frame
    assert [[Span(**one) for one in own] for own in frame["spans"].to_list()] == expected[0]


def _json(spans: pl.Series) -> str:
    return json.dumps([{name: one[name] for name in ("start", "end", "label")} for one in spans.to_list()])


def test_what_is_not_read_is_told(
    tmp_path: Path,
    run: Run,
    texts: list[tuple[str, str]],
    write_notes: Any,
    save_tagger: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = save_tagger(1, most=2)
    path, output = write_notes([*texts, ("blank", " \n")], tmp_path / "notes.jsonl"), tmp_path / "spans.jsonl"
    done = run(path, output, artifact=folder)
    assert (done.documents, done.rejects) == (len(texts), 1)
    assert 0 < done.totals["documents_cut"] < len(texts) and done.totals["words_unread"] > done.totals["documents_cut"]
    show_predictions(PredictSettings.of([f"artifact={folder}", f"input={path}", f"output={output}"]), done)
    printed = capsys.readouterr().out
    assert f"unread     {done.totals['words_unread']:,} of {done.totals['words']:,} words" in printed


def test_a_shadow_is_compared_span_by_span_and_word_by_word(
    tmp_path: Path,
    run: Run,
    texts: list[tuple[str, str]],
    write_notes: Any,
    tagger_folder: Path,
    shadow_tagger: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, output = write_notes(texts, tmp_path / "notes.jsonl"), tmp_path / "spans.jsonl"
    done = run(path, output, artifact=tagger_folder, shadow=shadow_tagger)
    pairs = list(zip(*([{one for one, _ in own} for own in read(output, p)] for p in ("", "shadow_")), strict=True))
    told = json.loads((tmp_path / "spans.jsonl.shadow.json").read_text())
    assert told["agreement"]["documents"] == pytest.approx(np.mean([a == b for a, b in pairs]))
    assert 0 < told["agreement"]["spans"] < 1 and told["documents"] == len(texts)
    for label, at in told["labels"].items():
        own = [[{one for one in side if one.label == label} for side in pair] for pair in pairs]
        both, ours, theirs = (sum(len(f(a, b)) for a, b in own) for f in (_and, _first, _second))
        assert at["agreement"] == pytest.approx(2 * both / (ours + theirs))
        assert (at["rate"], at["shadow_rate"]) == pytest.approx((ours / len(texts), theirs / len(texts)))
        assert (at["only_artifact"], at["only_shadow"]) == (ours - both, theirs - both)
        more, fewer = sum(len(a) > len(b) for a, b in own), sum(len(a) < len(b) for a, b in own)
        assert at["sign_p"] == pytest.approx(mcnemar_p(more, fewer)) and at["sign_p"] <= at["sign_p_corrected"]
        bins = [np.bincount(np.digitize([len(pair[side]) for pair in own], SPAN_EDGES), minlength=9) for side in (0, 1)]
        assert at["stability_between_models"] == pytest.approx(stability(*bins))
    show_predictions(
        PredictSettings.of(
            [f"artifact={tagger_folder}", f"input={path}", f"output={output}", f"shadow={shadow_tagger}"]
        ),
        done,
    )
    assert f"{told['agreement']['spans']:.2%} of spans" in capsys.readouterr().out


def _and(a: set[Span], b: set[Span]) -> set[Span]:
    return a & b


def _first(a: set[Span], b: set[Span]) -> set[Span]:
    return a


def _second(a: set[Span], b: set[Span]) -> set[Span]:
    return b


def some(rng: np.random.Generator, notes: int, many: float) -> SpanPredictions:
    spans = [[Span(2 * n, 2 * n + 1, "X") for n in range(rng.poisson(many))] for _ in range(notes)]
    tags = [np.array([1, 0] * len(own), dtype=np.int64) for own in spans]
    return SpanPredictions(
        spans, [[0.5] * len(own) for own in spans], tags, np.zeros(notes, np.int64), np.ones(notes, bool)
    )


@pytest.mark.parametrize("grows", [0.0, 2.0])
def test_spans_that_become_more_are_drift(grows: float) -> None:
    rng, shadow = np.random.default_rng(1), SpanComparison(("X",), None)
    for window in range(PERIODS + 3):
        one = some(rng, 100, 3 + (grows if window else 0))
        shadow.add(one, one)
        shadow = SpanComparison(("X",), json.loads(json.dumps(shadow.counts())))  # as a run that is killed and goes on
    shadow.add(some(rng, 0, 1), some(rng, 0, 1))
    told = shadow.summary()
    assert told["drift"]["artifact"]["shifted"] == told["drift"]["shadow"]["shifted"] == (["X"] if grows else [])
    assert told["agreement"] == {"documents": 1.0, "words": 1.0, "spans": 1.0} and told["labels"]["X"]["sign_p"] == 1
    assert sum(one["documents"] for one in told["periods"]) == told["documents"] == 100 * (PERIODS + 3)


def test_a_note_with_half_an_answer_has_none() -> None:
    found = some(np.random.default_rng(0), 4, 2)
    broken = SpanPredictions(
        found.spans, found.probabilities, found.tags, found.unread, np.array([True, False, True, True])
    )
    kept = broken.only(broken.valid)
    assert list(kept.spans) == [found.spans[place] for place in (0, 2, 3)] and kept.valid.all() and len(kept.tags) == 3


def test_tags_of_another_order_are_refused(tagger_folder: Path) -> None:
    serving = InferenceConfig.load(tagger_folder)
    assert open_head(serving).labels == ("DISEASE", "MEDICATION")
    odd = InferenceConfig("entities", ("B-X", "I-X", "O"), None, 24, serving.long_notes)
    with pytest.raises(ValueError, match="tag names must be O, then B-X and I-X of every label X"):
        open_head(odd)
