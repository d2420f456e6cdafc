"""Laws of a table over splits, and of a sweep that chooses on validation: what it shows, and that test stays closed."""

import contextlib
import io
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest
from support.pipelines import composed
from support.reports import Seen, recorded, result

from clinlm.metrics.bootstrap import Interval
from clinlm.models.artifact import Artifact
from clinlm.pipeline.protocol import Protocol
from clinlm.pipeline.run_record import RunRecord
from clinlm.report.columns import summary_columns
from clinlm.report.evaluation import evaluate
from clinlm.report.nested import choice_lines, choose, resplits_command, without_split
from clinlm.report.report import Report, open_inputs
from clinlm.report.resplits import RESPLITS, by_corpus, report_resplits, with_doubts, with_load_range
from clinlm.report.results import ModelResult, read_results
from clinlm.report.split_table import listed_seeds
from clinlm.report.terminal import SCREEN
from clinlm.report.tracked import publish_sweep
from clinlm.report.written import WrittenReport
from clinlm.tasks.examples import Examples
from clinlm.training.teachers.tfidf import Tfidf
from clinlm.training.tfidf_int8 import TfidfInt8

pytestmark = pytest.mark.usefixtures("quick")
TYPED = ("pipeline=a", "epochs=1")


@pytest.fixture(scope="module")
def runs(notes_csv: Path, tmp_path_factory: pytest.TempPathFactory, quick: None) -> list[RunRecord]:
    """The records of a pipeline on the splits 3 and 4 of its corpus."""
    root, found = tmp_path_factory.mktemp("resplits") / "store", []
    for seed in (3, 4):
        run, _ = recorded(composed(notes_csv, root, *TYPED, f"task.seed={seed}"))
        gates = ({**run.gates[0], "resamples": 50},)  # one of four, and quick
        found.append(replace(run, resplits=2, overrides=(*TYPED, f"task.seed={seed}"), gates=gates))
    return found


@pytest.fixture(scope="module")
def every(runs: list[RunRecord]) -> list[dict[str, ModelResult]]:
    """The results of each split by itself."""
    return [{one.name: one for one in evaluate([run], stages=True)[0]} for run in runs]


class Table(NamedTuple):
    """The table over both splits, the folder of its files, and what was printed."""

    written: WrittenReport
    folder: Path
    screen: str

    @property
    def results(self) -> list[ModelResult]:
        return [*self.written.results]


@pytest.fixture(scope="module")
def table(runs: list[RunRecord], tmp_path_factory: pytest.TempPathFactory) -> Table:
    folder, screen = tmp_path_factory.mktemp("table"), io.StringIO()
    with contextlib.redirect_stdout(screen), pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(SCREEN[0]))
        return Table(report_resplits(runs, folder), folder, screen.getvalue())


def test_numbers_are_means_over_splits(table: Table, every: list[dict[str, ModelResult]]) -> None:
    """Quality and costs against those of every split by itself."""
    results = table.results
    assert [one.name for one in results] == [*every[0]]
    for one in results:
        own = [split[one.name] for split in every]
        for metric, value in one.quality.items():
            each = [split.quality[metric] for split in own]
            assert value == pytest.approx(np.nanmean(each), abs=1e-6, nan_ok=True)
            assert one.splits is not None and one.splits.values[metric] == pytest.approx(each, abs=1e-6, nan_ok=True)
            assert one.splits.ends(metric) == pytest.approx((np.nanmin(each), np.nanmax(each)), abs=1e-6)
        assert one.validation["macro_f1"] == pytest.approx(fmean(split.validation["macro_f1"] for split in own))
        for metric, change in one.differences.items():
            each = [split.differences[metric].value for split in own]
            assert change.value == pytest.approx(np.nanmean(each), abs=1e-6, nan_ok=True)
            assert one.splits is not None and one.splits.better[metric] == sum(value > 1e-9 for value in each)
        assert one.bytes == round(fmean(split.bytes for split in own))
        assert one.latency is not None and one.latency.p50_ms > 0
    by_name = {one.name: one for one in results}
    teacher, student = by_name["teacher"], by_name["student"]
    assert student.compression_bytes == pytest.approx(teacher.bytes / student.bytes, rel=1e-3)
    assert teacher.latency is not None and student.latency is not None
    assert student.latency.speedup == pytest.approx(teacher.latency.p50_ms / student.latency.p50_ms)
    assert student.non_inferiority is not None
    assert student.non_inferiority.difference == student.differences["micro_f1"]


def test_the_files_hold_the_table(table: Table) -> None:
    results, folder = table.results, table.folder
    read, notices = read_results(folder / f"{RESPLITS}.json")
    assert [(one.name, one.splits, one.intervals["micro_f1"]) for one in read] == [
        (one.name, one.splits, one.intervals["micro_f1"]) for one in results
    ]
    frame = pl.read_csv(folder / f"{RESPLITS}.csv")
    assert frame["name"].to_list() == [one.name for one in results] and set(frame["splits"]) == {2}
    text = (folder / f"{RESPLITS}.md").read_text(encoding="utf-8")
    assert text.count("| 2 of 2 |") == len(results) and "Means over splits: 2 (task.seed 3–4)" in text
    assert any(notice.startswith("gates passed by student, of 2 splits: ") for notice in notices)
    again = next(one for one in results if one.name == "student").lineage.overrides
    assert again == (*TYPED, "task.seed=3", "resplits=2")


def test_the_end_fits_the_screen(table: Table) -> None:
    lines = table.screen.splitlines()
    assert lines[0].strip() == "Pipeline a on test: mean of 2 splits (task.seed 3–4)"
    assert sum(max(1, -(-len(line) // SCREEN[0])) for line in lines) <= SCREEN[1]
    assert "splits     2 of 2: macro F1 " in table.screen and lines[-1].startswith("again      clinlm pipeline=a")


def test_a_dashboard_gets_the_table_over_splits_in_the_columns_of_every_run(table: Table) -> None:
    logger = Seen()
    publish_sweep(table.written, logger)
    (run,) = logger.runs
    assert run.kind == "sweep" and {*run.summary} == {*summary_columns(None, "test")}
    subject = next(one for one in table.results if one.name == table.written.subject)
    assert run.summary["final/micro_f1"] == pytest.approx(fmean(subject.splits.values["micro_f1"]))  # type: ignore[union-attr]
    assert run.settings["resplits"] == 2 and run.settings["best"] == subject.name
    assert run.tables["resplits"]["name"].to_list() == [one.name for one in table.results]
    assert len({name for name in run.settings["parents"] if name.startswith("corpus-")}) == 2


@pytest.mark.integration
def test_several_pipelines_have_a_report_of_every_split(runs: list[RunRecord], tmp_path: Path) -> None:
    short = [replace(run, pipeline="baseline", stages=run.stages[:1]) for run in runs]
    results = report_resplits([runs[0], short[0], runs[1]], tmp_path).results
    assert [one.name for one in results] == ["TF-IDF", "TF-IDF int8", "baseline", "a", "teacher"]
    found = {one.name: one.splits.found for one in results if one.splits is not None}
    assert found == {"TF-IDF": 2, "TF-IDF int8": 2, "baseline": 1, "a": 2, "teacher": 1}
    for seed in (3, 4):
        assert (tmp_path / f"split-{seed}" / "table.md").is_file()


def test_runs_are_grouped_by_all_but_their_split(runs: list[RunRecord]) -> None:
    other = replace(runs[0], task=replace(runs[0].task, settings={**runs[0].task.settings, "max_tokens": 16}))
    assert [len(own) for own in by_corpus([*runs, other]).values()] == [2, 1]


def test_a_margin_changed_on_any_split_is_told_of_all(runs: list[RunRecord]) -> None:
    fixed, late = (Protocol("micro_f1", 0.02, "micro_f1", 0.02, "2026-11-29", late) for late in (False, True))
    first, second = replace(runs[0], protocol=fixed), replace(runs[1], protocol=late)
    other = replace(first, pipeline="b")
    assert [run.protocol for run in with_doubts([first, second, other])] == [late, late, fixed]


def test_seeds_and_overrides_are_listed_in_few_words() -> None:
    assert [listed_seeds(own) for own in ([1, 2, 3], [2], [1, 3], [])] == ["1–3", "2", "1, 3", ""]
    typed = ["a=1", "+task.seed=3", "++resplits=2", "nested=True", "seed=1", "report.resplits_=0"]
    assert without_split(typed) == ["a=1", "seed=1", "report.resplits_=0"]


# Nested: test stays closed.


def closed(patch: pytest.MonkeyPatch) -> None:
    """Make every look at test an error."""
    members, predictions = Examples.members, Artifact.predictions

    def shut(split: str) -> None:
        assert split not in ("test", "every"), "test was opened"

    def checked(own: Examples, split: str) -> Any:
        shut(split)
        return members(own, split)

    def read(own: Artifact, split: str) -> Any:
        shut(split)
        return predictions(own, split)

    patch.setattr(Examples, "members", checked)
    patch.setattr(Artifact, "predictions", read)


@pytest.mark.parametrize("stages", [True, pytest.param(False, marks=pytest.mark.integration)])
def test_a_nested_report_never_opens_test(
    runs: list[RunRecord], stages: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are the same, byte for byte, after every target of test was turned over, and reading test fails."""
    run = replace(runs[0], nested=True, resplits=1)
    monkeypatch.setattr("clinlm.report.evaluation._latencies", lambda *rest: {})
    task, external = open_inputs(run)
    assert external is None
    Tfidf.of(task).fitted(task)  # the table says whether it was cached
    TfidfInt8.of(task).fitted(task)
    folder = tmp_path / "run"
    report = Report([run], (task, None), folder, stages=stages)
    written = contents(folder)
    shutil.rmtree(folder)
    task.examples.targets[task.examples.members("test")] ^= True
    closed(monkeypatch)
    Report([run], (task, None), folder, stages=stages)
    assert written == contents(folder)
    for one in report.results:
        assert one.quality == pytest.approx(one.validation, nan_ok=True) and not one.non_inferiority
    for name, content in written.items():
        text = content.decode().replace("test was not opened", "") if name.endswith(".md") else ""
        assert not re.search(r"\btest\b", text), name
    assert b"test was not opened (nested=true)" in written["table.md"]
    assert b"chose its terms on these documents" in written["table.md"]
    assert not {"validation.md", "external.md", "published.md"} & {*written}
    name, lines = report.choice([run])
    assert name in {one.name for one in report.results} and lines[-1].endswith("task.seed=4 resplits=5")


@pytest.mark.integration
def test_the_conclusion_of_a_nested_sweep_is_about_its_choice(
    runs: list[RunRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clinlm.report.evaluation._latencies", lambda *rest: {})
    monkeypatch.setattr("clinlm.report.report.choose", lambda results, *rest, **more: results[-2])
    run = replace(runs[0], nested=True, resplits=1)
    report = Report([run], open_inputs(run), tmp_path, stages=False)
    assert report.choice([run])[0] == report.chosen() == "teacher" != report.results[-1].name
    assert any(said.startswith("teacher is the reference") for said in report.conclusion)


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class Scores:
    """Evaluations whose difference is known."""

    def __init__(self, value: float) -> None:
        self.value = value

    def difference(self, reference: "Scores", **rest: Any) -> Mapping[str, Interval]:
        change = self.value - reference.value
        return {"micro_f1": Interval(change, change - 0.0196, change + 0.0196)}  # a standard error of one point


@pytest.mark.parametrize(("second", "chosen"), [(0.795, "small"), (0.785, "large")])
def test_the_smallest_within_a_standard_error_of_the_best_is_chosen(second: float, chosen: str) -> None:
    values = {"teacher": (0.9, 9, "teacher"), "large": (0.8, 5, "student"), "small": (second, 2, "student")}
    rows = [
        result(name, validation={"micro_f1": value}, bytes=size, role=role)
        for name, (value, size, role) in values.items()
    ]
    scores: Any = {name: Scores(value) for name, (value, _, _) in values.items()}
    assert choose(rows, scores, "micro_f1").name == chosen
    equal = [replace(one, bytes=5) for one in rows]
    assert choose([replace(equal[1], latency=None), equal[2]], scores, "micro_f1").name == chosen


def test_the_command_of_a_choice_reports_fresh_splits(runs: list[RunRecord], notes_csv: Path, tmp_path: Path) -> None:
    run = replace(runs[0], overrides=(*TYPED, "nested=True", "task.seed=3"))
    assert resplits_command(run) == "clinlm pipeline=a epochs=1 task.seed=4 resplits=5"
    rows = [result("a", validation={"micro_f1": 0.5}, role="student")]
    assert len(choice_lines(rows, rows[0], "micro_f1", run)) == 2
    corpus = {**run.task.settings["corpus"], "split": "half"}
    fixed = replace(
        run, task=replace(run.task, settings={**run.task.settings, "corpus": corpus, "root": str(tmp_path / "n.csv")})
    )
    half = pl.col("group").str.tail(1).replace_strict({"1": "test", "2": "validation"}, default="train").alias("half")
    pl.read_csv(notes_csv).with_columns(half).write_csv(tmp_path / "n.csv")
    assert resplits_command(fixed) == "clinlm pipeline=a epochs=1"


def test_splits_timed_alike_share_a_line_with_the_range_of_their_loads() -> None:
    line = "timed on {}, other processes used {}% of the cores"
    found = with_load_range([[line.format("a", 70), "x"], [line.format("a", 60)]])
    shared = "timed on a, other processes used 60–70% of the cores"
    assert found == [[shared, "x"], [shared]]
    other = [[line.format("a", 70)], [line.format("b", 60)]]
    assert with_load_range(other) == other and with_load_range([["x"], []]) == [["x"], []]
