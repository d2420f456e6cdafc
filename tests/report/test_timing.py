"""What a report times: from a text to the probabilities and decisions that it evaluates, for every kind of row."""

import logging
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import polars as pl
import pytest
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from support.entity_jobs import config as entity_config
from support.pipelines import composed
from support.reports import recorded, result, timed

from clinlm.config.errors import ConfigError
from clinlm.config.validation import CONF
from clinlm.engines.base import Engine
from clinlm.metrics.entity_evaluation import EntityEvaluation
from clinlm.metrics.evaluation import LabelEvaluation
from clinlm.metrics.hardware import Hardware
from clinlm.metrics.latency import Phased
from clinlm.pipeline.run_record import write_run_file
from clinlm.predict.predictions import DocumentPredictions, SpanPredictions
from clinlm.report import cells, evaluation, kept_latencies, tables, timing
from clinlm.report.baselines import ComparedModel
from clinlm.report.domination import with_domination
from clinlm.report.evaluation import evaluate
from clinlm.report.kept_latencies import LatencySession
from clinlm.report.results import ModelResult, read_results, results_content
from clinlm.report.settings import ReportSettings
from clinlm.tasks.base import Task

HERE = Hardware("Xeon", ("AVX2",), 2, 1, "2026-11-29")
QUIET = replace(timed(12.94, 2.0), busy=0.02, hardware=HERE, network_p50_ms=3.0)
LOUD = replace(QUIET, busy=0.37)


def timed_rows(
    made: DictConfig, monkeypatch: pytest.MonkeyPatch, **report: Any
) -> tuple[Task, list[ComparedModel], list[ModelResult]]:
    """Run a pipeline, and return its task, all that its report times, and its results."""
    monkeypatch.setattr("clinlm.engines.export.memory", lambda folder, tokens, engine: (1.0, 2.0))
    run, task = recorded(made, resamples=20, latency_documents=2, **report)
    seen: list[ComparedModel] = []
    own = evaluation._latencies
    monkeypatch.setattr(kept_latencies, "load_now", lambda: None)

    def unopened() -> NoReturn:
        raise AssertionError("latencies are in the store: no model is opened")

    def latencies(task: Task, predictors: Sequence[ComparedModel], *rest: Any) -> Any:
        seen.extend(predictors)
        first = own(task, predictors, *rest)
        assert first == own(task, [replace(each, opens=each.opens and unopened) for each in predictors], *rest)
        return first

    monkeypatch.setattr(evaluation, "_latencies", latencies)
    results, _ = evaluate([run], task, stages=True)
    return task, seen, results


def check_answers(task: Task, predictor: ComparedModel) -> None:
    """Compare what is timed, note by note, with the stored predictions and with their evaluation."""
    assert predictor.opens is not None
    answer = predictor.opens()
    found = [answer(text) for text in task.texts("test")]
    expected = task.evaluate("test", predictor.test, predictor.thresholds)
    if isinstance(expected, LabelEvaluation):
        each = [own for own in found if isinstance(own, DocumentPredictions)]
        np.testing.assert_allclose(np.concatenate([own.probabilities for own in each]), predictor.test, atol=1e-5)
        assert np.array_equal(np.concatenate([own.decided for own in each]), expected.decisions)
    else:
        assert isinstance(expected, EntityEvaluation)
        spans = [own.spans[0] for own in found if isinstance(own, SpanPredictions)]
        assert [[*own] for own in spans] == [[*own] for own in expected.found]


@pytest.mark.usefixtures("quick")
def test_the_timed_answer_is_the_evaluated_one(
    notes_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = ("pipeline=distillation", "epochs=1", "stages.student.teachers=[teacher,tfidf]")
    overrides = (*overrides, "long_notes=windows", "task.max_tokens=12", "task.calibrate=temperature")
    made = composed(notes_csv, tmp_path / "store", *overrides)
    task, seen, results = timed_rows(made, monkeypatch, engine={"_target_": "clinlm.engines.torch.Torch"})
    names = [predictor.result.name for predictor in seen if predictor.opens is not None]
    assert {"TF-IDF", "TF-IDF int8", "teacher", "student", "student @torch"} < {*names}
    assert any("ensemble" in one for one in names)
    for predictor in seen:
        if predictor.opens is not None:
            check_answers(task, predictor)
    for row in results:
        network = row.latency is not None and row.latency.network_p50_ms is not None
        assert network == (row.kind == "stage"), row.name
        assert row.latency is None or (row.latency.network_p50_ms or 0) < row.latency.p50_ms


@pytest.mark.usefixtures("quick")
def test_the_timed_answer_of_a_tagger_is_the_evaluated_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = entity_config(tmp_path / "job", {"_target_": "clinlm.labelers.human.Human"})
    task, seen, _ = timed_rows(made, monkeypatch, engine={"_target_": "clinlm.engines.torch.Torch"})
    assert {"TF-IDF", "teacher", "teacher @torch"} <= {predictor.result.name for predictor in seen}
    for predictor in seen:
        if predictor.opens is not None:
            check_answers(task, predictor)


@pytest.mark.integration
@pytest.mark.usefixtures("quick")
def test_every_engine_answers_as_it_is_evaluated(
    notes_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a tagger's, and a network with integer weights, whose answers depend on how notes are batched."""
    engine = {"engine": {"_target_": "clinlm.engines.auto.Auto"}}
    made = composed(notes_csv, tmp_path / "a" / "store", "pipeline=quantization", "quantize=dynamic", "epochs=1")
    other = entity_config(tmp_path / "b", {"_target_": "clinlm.labelers.human.Human"})
    for config in (made, other):
        task, seen, _ = timed_rows(config, monkeypatch, **engine)
        assert sum(bool(predictor.result.deployment) for predictor in seen) >= 2
        for predictor in seen:
            if predictor.opens is not None:
                check_answers(task, predictor)
        monkeypatch.undo()


def test_a_disturbed_latency_is_marked_and_explained() -> None:
    for latency, mark in ((QUIET, ""), (LOUD, "?")):
        assert timing.p50_cell(latency) == f"12.9{mark}" and timing.speedup_cell(latency) == f"2.00{mark}"
        assert timing.network_cell(latency) == f"3.00{mark}"
        assert timing.network_cell(replace(latency, network_p50_ms=None)) == timing.p50_cell(None) == cells.NONE
        shown, (line,) = timing.judge_latencies({"a": latency}, "mark")
        assert shown["a"] is latency and line.startswith("timed on Xeon (AVX2), 1 thread on 2 cores, other processes ")
        assert ("? marks numbers that this load (over 10%) may have changed" in line) == bool(
            mark
        ) and "2026-11-29" in line
    assert timing.judge_latencies({}, "refuse") == ({}, [])


def test_on_a_busy_machine_rows_dominate_by_processor_time() -> None:
    """The clock says that a is faster; a busy machine makes that chance, and b took less of the processor."""
    for busy, dominated in ((0.0, ["", "a"]), (0.5, ["b", ""])):
        latencies = (replace(QUIET, p50_ms=p50, processor_ms=used, busy=busy) for p50, used in ((1.0, 9.0), (2.0, 3.0)))
        rows = [result(name, latency=latency) for name, latency in zip("ab", latencies, strict=True)]
        assert ["".join(row.dominated_by) for row in with_domination(rows, "micro_f1")] == dominated


def test_refusal_leaves_out_what_is_disturbed_only() -> None:
    assert timing.judge_latencies({"a": QUIET}, "refuse")[0] == {"a": QUIET}
    shown, (line,) = timing.judge_latencies({"a": QUIET, "b": LOUD}, "refuse")
    assert shown == {} and line.startswith("no latency: other processes used 37% of the cores") and "again" in line
    with pytest.raises(ConfigError, match=r"report.busy must be one of"):
        ReportSettings(busy="wait")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"report.latency must be one of"):
        ReportSettings(latency="old")  # type: ignore[arg-type]


@pytest.mark.parametrize("load", [None, 0.05, 0.2])
def test_latencies_are_kept_until_something_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: float | None
) -> None:
    """Of the same rows under other names as well; disturbed ones until the machine is quiet."""
    monkeypatch.setattr(kept_latencies, "load_now", lambda: load)
    rows = [replace(result(name), key=name * 12) for name in "ab"]

    def session(rows: Sequence[ModelResult] = rows, text: str = "note", reference: str = "a", **other: Any) -> Any:
        return LatencySession.of(tmp_path, rows, [text], reference, {"passes": 3, "seed": 0, **other})

    assert session().read() is None
    times = {"a": QUIET, "b": replace(QUIET, p50_ms=1.0, network_p50_ms=None)}
    session().write(times)
    renamed = [replace(row, name=row.name.upper()) for row in reversed(rows)]
    assert session().read() == times and session(renamed, reference="A").read() == {"A": times["a"], "B": times["b"]}
    others = [session(rows[:1]), session(text="other"), session(reference="b"), session(passes=1)]
    others += [session([rows[0], replace(rows[1], key="c")])]
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(kept_latencies, "own_processor", lambda: ("another", (), 2))
        others.append(session())
        elsewhere.setenv("OMP_NUM_THREADS", "77")
        others.append(session())
        elsewhere.setattr(kept_latencies, "version", lambda package: "0")
        others.append(session())
    assert len({own.path for own in (session(), *others)}) == 9 and all(own.read() is None for own in others)
    session().write({"a": LOUD, "b": LOUD})
    assert session().read() == (None if load == 0.05 else {"a": LOUD, "b": LOUD})


def test_a_store_that_cannot_be_written_keeps_no_latencies(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = tmp_path / "store"
    store.write_text("no folder can be made here, by whomever")
    session = LatencySession.of(store, [replace(result("a"), key="a")], ["note"], "a", {})
    with caplog.at_level(logging.INFO, "clinlm.report.kept_latencies"):
        session.write({"a": QUIET})
    assert session.read() is None and [line.startswith("latencies are not kept in") for line in caplog.messages] == [
        True
    ]


def test_latencies_are_measured_again_when_an_engine_changes() -> None:
    targets = [OmegaConf.load(path).get("_target_") for path in (CONF / "engine").glob("*.yaml")]
    found = {target for target in targets if target and issubclass(get_object(target), Engine)}
    assert len(found) >= 5 and found <= set(kept_latencies.CODE)


def test_the_machine_is_in_the_json_once_and_the_load_in_the_csv(tmp_path: Path) -> None:
    rows = [result("a", latency=LOUD), result("b", latency=replace(LOUD, p50_ms=1.0)), result("c", p50_ms=None)]
    write_run_file(tmp_path / "table.json", results_content(rows, []))
    assert (tmp_path / "table.json").read_text().count("Xeon") == 1
    again, _ = read_results(tmp_path / "table.json")
    assert [row.latency for row in again] == [row.latency for row in rows]
    frame = tables.results_frame(rows)
    assert frame["latency_busy"].to_list() == [0.37, 0.37, None] and "latency_hardware" not in frame.columns
    assert frame["latency_network_p50_ms"].to_list() == [3.0, 3.0, None]


@pytest.mark.parametrize(("most", "alive"), [(0, 2), (35, 3), (10**9, 9)])
def test_models_that_are_too_large_together_are_timed_in_groups(
    tmp_path: Path, most: int, alive: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with the reference, and the next is opened when those before it are gone."""
    opened: weakref.WeakSet[Any] = weakref.WeakSet()
    held: list[int] = []

    class Network:
        def __init__(self) -> None:
            self.itself = self
            opened.add(self)
            held.append(len(opened))

        def __call__(self, text: str) -> object:
            return text

    def predictor(number: int) -> ComparedModel:
        own = replace(result(f"m{number}"), key=f"k{number}", bytes=10)
        return ComparedModel(own, lambda split: np.zeros((1, 1)), np.zeros(1), Network)

    rows = [predictor(number) for number in range(9)]
    examples = SimpleNamespace(members=lambda split: np.arange(2), frame=pl.DataFrame({"text": ["a", "b"]}))
    task: Any = SimpleNamespace(examples=examples)
    settings = ReportSettings(latency_documents=2, latency_passes=1)
    monkeypatch.setattr(evaluation, "TOGETHER", most)
    times = evaluation._latencies(task, rows, "m4", settings, "test", tmp_path)
    assert [*times] == [row.result.name for row in rows] and max(held) == alive
    assert times["m4"].speedup == 1 and all(own.documents == 2 for own in times.values())


def test_a_phased_model_answers_like_a_plain_one() -> None:
    model: Phased[str, int, int] = Phased(len, lambda length: length + 1, lambda length, more: (length, more))
    assert model("abc") == (3, 4)
