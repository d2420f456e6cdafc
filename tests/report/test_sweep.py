"""Laws of a sweep's table: which models it compares, what it counts as shared, and means over seeds."""

import json
import logging
import statistics
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from clinlm.metrics.latency import Latency
from clinlm.report import sweep
from clinlm.report.candidates import chosen
from clinlm.report.readings import mean
from clinlm.report.row import Row
from clinlm.report.sweep import RUN, SweepTable, shared
from clinlm.store.content import seal

Run = dict[str, Any]


def run(pipeline: str, *stages: str, seed: int = 0, cached: str = "") -> Run:
    """What a pipeline leaves; a stage is its folder, those of `cached` were there already."""
    told = [
        {"name": one, "role": "student" if number else "teacher", "folder": f"/store/{one}", "cached": one in cached}
        for number, one in enumerate(stages)
    ]
    return {"pipeline": pipeline, "seed": seed, "stages": told, "task": {"key": "k", "facts": {}, "notices": []}}


def row(name: str, micro_f1: float = 0.5, p50_ms: float = 1.0, **fields: Any) -> Row:
    time = Latency(p50_ms, p50_ms, p50_ms, p50_ms, 3, 1 / p50_ms, 0.0, 9.0)
    settings: dict[str, Any] = {
        "kind": "stage",
        "key": "",
        "parameters": 1,
        "nonzero": 1,
        "bytes": 1,
        "seconds": 1.0,
        "cached": False,
    }
    return Row(name=name, quality={"micro_f1": micro_f1}, latency=time, **settings | fields)


ABC = [run("a", "t", "s"), run("b", "t", "s", "p", cached="ts"), run("c", "t", "u", "q", cached="t")]


def named(runs: list[Run]) -> list[tuple[str, str, str]]:
    """Name, folder and reference of what is compared."""
    return [(one.name, one.folder.removeprefix("/store/"), one.reference) for one in chosen(runs)]


def test_a_sweep_compares_its_teacher_and_the_end_of_every_pipeline() -> None:
    assert named(ABC) == [
        ("teacher", "t", "teacher"),
        ("a", "s", "teacher"),
        ("b", "p", "teacher"),
        ("c", "q", "teacher"),
    ]
    assert [one.role for one in chosen(ABC)] == ["teacher", "student", "student", "student"]


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
    assert [one.group for one in chosen(runs)] == ["teacher", "teacher", "a", "a", "b", "b"]


def test_settings_that_differ_are_in_the_names() -> None:
    runs = [run("b", "t", f"p{ratio}", seed=seed) for seed, ratio in ((0, "0.1"), (0, "0.25"), (1, "0.25"))]
    for one, (seed, ratio) in zip(runs, ((0, "0.1"), (0, "0.25"), (1, "0.25000001")), strict=True):
        one["overrides"] = ["task=mtsamples", "pipeline=b", f"seed={seed}", f"prune.ratio={ratio}"]
    assert [one.name for one in chosen(runs)][1:] == ["b ratio=0.1 s0", "b ratio=0.25 s0", "b ratio=0.25 s1"]
    assert chosen(runs)[1].overrides == ("task=mtsamples", "pipeline=b", "seed=0", "prune.ratio=0.1")


def test_runs_that_share_a_name_are_told_apart() -> None:
    runs = [run("b", "t", "p1"), run("b", "t", "p2"), run("b", "v", "p3")]
    assert named(runs) == [
        ("teacher", "t", "teacher"),
        ("teacher'", "v", "teacher'"),
        ("b", "p1", "teacher"),
        ("b'", "p2", "teacher"),
        ("b''", "p3", "teacher'"),
    ]


def test_a_pipeline_of_a_teacher_alone_gives_it_its_name() -> None:
    assert named([run("baseline", "t")]) == [("baseline", "t", "baseline")]
    assert named([run("a", "t", "s"), run("baseline", "t")]) == [
        ("baseline", "t", "baseline"),
        ("a", "s", "baseline"),
    ]


def test_what_is_compressed_is_judged_against_the_first_teacher_of_its_run(tmp_path: Path) -> None:
    one = run("mine", "first", "second", "third")
    for stage in one["stages"]:
        stage["folder"] = str(tmp_path / stage["name"])
        (tmp_path / stage["name"]).mkdir()
        seal(tmp_path / stage["name"], {"key": stage["name"]})
    one["stages"][0]["role"], one["stages"][1]["role"] = "student", "teacher"
    one["stages"][-1]["techniques"] = ["int4"]
    (found,) = sweep.compressed([one])
    assert (found.original.folder.name, found.artifact.folder.name) == ("second", "third")
    assert found.techniques == ("int4",) and not sweep.compressed(ABC)


def test_what_is_shared_is_counted() -> None:
    assert shared(ABC) == "stages     8 asked for, 5 different, 5 built now, the rest shared or reused"
    again = [run("a", "t", "s", cached="ts")] * 2
    assert shared(again) == "stages     4 asked for, 2 different, 0 built now, the rest shared or reused"


def test_means_over_seeds() -> None:
    one = row("b s0", 0.3)
    assert mean([one]) is one
    found = mean([row("a s0", 0.1, 1.0), row("a s1", 0.2, 2.0), row("a s2", 0.6, 6.0)])
    assert found.quality == {"micro_f1": pytest.approx(0.3)} and found.latency is not None
    assert found.deviations == {"micro_f1": pytest.approx(statistics.stdev([0.1, 0.2, 0.6]))}
    assert (found.latency.p50_ms, found.latency.speedup) == pytest.approx((3.0, (1 + 1 / 2 + 1 / 6) / 3))


def test_means_without_latency() -> None:
    rows = [row("a s0", 0.1), row("a s1", 0.3)]
    found = mean([Row(**{**vars(one), "latency": None}) for one in rows])
    assert found.latency is None and found.quality == {"micro_f1": pytest.approx(0.2)}


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the sweep in `tmp_path` hands to `summarise`: name of the table, pipelines of its runs, seed of its task."""
    seen: list[Any] = []

    def summarise(runs: Any, config: Any, folder: Path, name: str) -> None:
        assert folder.is_dir() and name == "table"
        seen.append((str(folder.relative_to(tmp_path)), [one["pipeline"] for one in runs], config.number))

    monkeypatch.setattr(sweep, "summarise", summarise)
    return seen


def job(folder: Path, number: int, told: Run | None) -> None:
    """The folder of one job; one that failed told nothing."""
    hydra = folder / str(number) / ".hydra"
    hydra.mkdir(parents=True)
    (hydra / "overrides.yaml").touch()
    OmegaConf.save({"number": number}, hydra / "config.yaml")
    if told is not None:
        (folder / str(number) / RUN).write_text(json.dumps(told))


def end(folder: Path) -> None:
    SweepTable().on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(folder)}}}))


def test_jobs_come_in_their_order_and_failed_ones_are_named(
    tmp_path: Path, jobs: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(12):
        job(tmp_path, number, None if number in (2, 10) else run(f"p{number}", "t"))
    with caplog.at_level(logging.WARNING):
        end(tmp_path)
    assert jobs == [(".", [f"p{number}" for number in range(12) if number not in (2, 10)], 0)]
    assert "2 jobs of the sweep did not finish: 10, 2" in caplog.text


def test_every_task_has_its_table(tmp_path: Path, jobs: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    for number, key in enumerate("xyx"):
        job(tmp_path, number, run(f"p{number}", "t") | {"task": {"key": key}})
    end(tmp_path)
    assert jobs == [("task-x", ["p0", "p2"], 0), ("task-y", ["p1"], 1)]
    assert not caplog.records


def test_a_sweep_without_a_finished_job_has_no_table(tmp_path: Path, jobs: list[Any]) -> None:
    job(tmp_path, 0, None)
    end(tmp_path)
    assert jobs == []
