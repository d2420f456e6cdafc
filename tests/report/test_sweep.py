"""Laws of a sweep's table: which models it compares, what it counts as shared, and means over seeds."""

import logging
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from support.reports import result

from clinlm.config.errors import DataError
from clinlm.pipeline.run_record import RunRecord, StageRecord, TaskRecord
from clinlm.report import sweep
from clinlm.report.published import mean_over_seeds
from clinlm.report.selection import last_stages
from clinlm.report.sweep import FAILED, SweepTable, gate_message, job_folders, stage_counts
from clinlm.sweepers.shared_study import STUDY


def run(pipeline: str, *stages: str, seed: int = 0, cached: str = "", task: str = "k") -> RunRecord:
    """What a pipeline leaves; a stage is its folder, those of `cached` were there already."""
    made = tuple(
        StageRecord(name, "student" if number else "teacher", f"/store/{name}", name in cached)
        for number, name in enumerate(stages)
    )
    opened = TaskRecord(task, {}, {}, ())
    return RunRecord(pipeline, seed, (), "/store", "val/macro_f1", opened, made, {}, None, (), {}, None)


ABC = [run("a", "t", "s"), run("b", "t", "s", "p", cached="ts"), run("c", "t", "u", "q", cached="t")]


def named(runs: list[RunRecord]) -> list[tuple[str, str, str]]:
    """Name, folder and reference of what is compared."""
    return [(each.name, each.lineage.folder.removeprefix("/store/"), each.reference) for each in last_stages(runs)]


def test_a_sweep_compares_its_teacher_and_the_end_of_every_pipeline() -> None:
    assert named(ABC) == [
        ("teacher", "t", "teacher"),
        ("a", "s", "teacher"),
        ("b", "p", "teacher"),
        ("c", "q", "teacher"),
    ]
    assert [one.role for one in last_stages(ABC)] == ["teacher", "student", "student", "student"]


def test_every_seed_is_compared_with_its_own_teacher() -> None:
    runs = [run(name, f"t{seed}", f"{name}{seed}", seed=seed) for name in "ab" for seed in (0, 1)]
    assert [(name, reference) for name, _, reference in named(runs)] == [
        ("teacher s0", "teacher s0"),
        ("teacher s1", "teacher s1"),
        ("a s0", "teacher s0"),
        ("a s1", "teacher s1"),
        ("b s0", "teacher s0"),
        ("b s1", "teacher s1"),
    ]
    assert [one.group for one in last_stages(runs)] == ["teacher", "teacher", "a", "a", "b", "b"]


def test_settings_that_differ_are_in_the_names() -> None:
    runs = [run("b", "t", f"p{ratio}", seed=seed) for seed, ratio in ((0, "0.1"), (0, "0.25"), (1, "0.25"))]
    drawn = ((0, "0.1"), (0, "0.25"), (1, "0.25000001"))
    runs = [
        replace(each, overrides=("task=mtsamples", "pipeline=b", f"seed={seed}", f"prune.ratio={ratio}"))
        for each, (seed, ratio) in zip(runs, drawn, strict=True)
    ]
    assert [one.name for one in last_stages(runs)][1:] == ["b ratio=0.1 s0", "b ratio=0.25 s0", "b ratio=0.25 s1"]
    assert last_stages(runs)[1].lineage.overrides == ("task=mtsamples", "pipeline=b", "seed=0", "prune.ratio=0.1")


def test_a_setting_that_another_pipeline_does_not_read_is_no_difference() -> None:
    quantized = [("a", "quantize=none"), ("a", "quantize=static"), ("b", "quantize=none", "recover.epochs=1")]
    runs = [replace(run(own[0], "t", f"s{number}"), overrides=own[1:]) for number, own in enumerate(quantized)]
    assert [each.name for each in last_stages(runs)][1:] == ["a quantize=none", "a quantize=static", "b quantize=none"]
    absent = [*runs, replace(run("b", "t", "s3"), overrides=("quantize=none",))]
    assert [each.name for each in last_stages(absent)][3:] == ["b quantize=none epochs=1", "b quantize=none"]


def test_runs_that_share_a_name_are_told_apart() -> None:
    runs = [run("b", "t", "p1"), run("b", "t", "p2"), run("b", "v", "p3")]
    assert named(runs) == [
        ("teacher", "t", "teacher"),
        ("teacher'", "v", "teacher'"),
        ("b", "p1", "teacher"),
        ("b'", "p2", "teacher"),
        ("b''", "p3", "teacher'"),
    ]


def test_runs_that_end_in_one_model_are_one_row() -> None:
    runs = [run("a", "t", "s"), replace(run("a", "t", "s"), overrides=("trainer=gpu",)), run("b", "t", "p")]
    assert [(name, folder) for name, folder, _ in named(runs)] == [("teacher", "t"), ("a", "s"), ("b", "p")]


def test_a_pipeline_of_a_teacher_alone_gives_it_its_name() -> None:
    assert named([run("baseline", "t")]) == [("baseline", "t", "baseline")]
    assert named([run("a", "t", "s"), run("baseline", "t")]) == [
        ("baseline", "t", "baseline"),
        ("a", "s", "baseline"),
    ]


def test_what_is_compressed_is_judged_against_the_first_teacher_of_its_run() -> None:
    made = run("mine", "first", "second", "third")
    first, second, third = made.stages
    roles = (replace(first, role="student"), replace(second, role="teacher"), replace(third, techniques=("int4",)))
    last = last_stages([replace(made, stages=roles)])[-1]
    assert (last.lineage.original, last.lineage.folder) == ("/store/second", "/store/third")
    assert last.lineage.techniques == ("int4",) and not any(each.lineage.original for each in last_stages(ABC))


def test_what_is_shared_is_counted() -> None:
    assert stage_counts(ABC) == "stages     8 requested, 5 unique, 5 built, 0 reused"
    again = [run("a", "t", "s", cached="ts")] * 2
    assert stage_counts(again) == "stages     4 requested, 2 unique, 0 built, 2 reused"


def test_means_over_seeds() -> None:
    one = result("b s0", 0.3)
    assert mean_over_seeds([one]) is one
    found = mean_over_seeds([result("a s0", 0.1, 1.0), result("a s1", 0.2, 2.0), result("a s2", 0.6, 6.0)])
    assert found.quality == {"micro_f1": pytest.approx(0.3)} and found.latency is not None
    assert found.deviations == {"micro_f1": pytest.approx(statistics.stdev([0.1, 0.2, 0.6]))}
    assert (found.latency.p50_ms, found.latency.speedup) == pytest.approx((3.0, (1 + 1 / 2 + 1 / 6) / 3))


def test_means_without_latency() -> None:
    rows = [result("a s0", 0.1), result("a s1", 0.3)]
    found = mean_over_seeds([replace(one, latency=None) for one in rows])
    assert found.latency is None and found.quality == {"micro_f1": pytest.approx(0.2)}


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the sweep in `tmp_path` hands to `summarise`: the folder of the table, and the pipelines of its runs."""
    seen: list[Any] = []

    def summarise(runs: Sequence[RunRecord], folder: Path) -> None:
        assert folder.is_dir()
        seen.append((str(folder.relative_to(tmp_path)), [each.pipeline for each in runs]))

    monkeypatch.setattr(sweep, "summarise", summarise)
    return seen


def job(folder: Path, number: int, record: RunRecord | None) -> None:
    """The folder of one job; one that failed left no record."""
    hydra = folder / str(number) / ".hydra"
    hydra.mkdir(parents=True)
    (hydra / "overrides.yaml").touch()
    if record is not None:
        record.write(folder / str(number))


def end(folder: Path) -> None:
    SweepTable().on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(folder)}}}))


def test_jobs_come_in_their_order_and_failed_ones_are_named(
    tmp_path: Path, jobs: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(12):
        job(tmp_path, number, None if number in (2, 10) else run(f"p{number}", "t"))
    with caplog.at_level(logging.WARNING):
        end(tmp_path)
    assert jobs == [(".", [f"p{number}" for number in range(12) if number not in (2, 10)])]
    assert "2 jobs of the sweep did not finish: 10, 2" in caplog.text


def test_every_task_has_its_table(tmp_path: Path, jobs: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    for number, key in enumerate("xyx"):
        job(tmp_path, number, run(f"p{number}", "t", task=key))
    end(tmp_path)
    assert jobs == [("task-x", ["p0", "p2"]), ("task-y", ["p1"])]
    assert not caplog.records


def test_a_sweep_without_a_finished_job_has_no_table(tmp_path: Path, jobs: list[Any]) -> None:
    job(tmp_path, 0, None)
    end(tmp_path)
    assert jobs == []


def test_a_record_comes_back_from_its_file(tmp_path: Path) -> None:
    record = replace(run("b", "t", "s"), overrides=("pipeline=b",), gates=({"name": "low"},))
    record.write(tmp_path)
    assert RunRecord.read(tmp_path) == record and (tmp_path / sweep.RUN).is_file()


def test_names_may_be_made_among_other_runs() -> None:
    """A job that failed on one split does not shorten the names of the others there."""
    ratios = [replace(run("b", "t", f"p{ratio}"), overrides=(f"prune.ratio={ratio}",)) for ratio in (0.1, 0.2)]
    assert [one.name for one in last_stages(ratios[:1])] == ["teacher", "b"]
    assert [one.name for one in last_stages(ratios[:1], ratios)] == ["teacher", "b ratio=0.1"]


@pytest.mark.parametrize("content", ["", "[]", '{"message"', "{}"])
def test_a_damaged_file_of_a_sweep_is_named(content: str, tmp_path: Path) -> None:
    for name, read in ((FAILED, gate_message), (STUDY, lambda path: job_folders(path.parent))):
        (tmp_path / name).write_text(content, encoding="utf-8")
        with pytest.raises(DataError, match=f"{name} must be JSON as this version of clinlm wrote it"):
            read(tmp_path / name)
