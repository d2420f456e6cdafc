"""Published tables as data, and ours beside them."""

import io
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from rich.console import Console
from support.reports import result, timed

from clinlm.report.labels import METRICS, label_table
from clinlm.report.published import PUBLISHED, Published, _write_lines, side_by_side, write_published
from clinlm.report.results import Lineage, ModelResult
from clinlm.report.tracked_tables import published_frame
from clinlm.report.written import read_json

CONF = Path(__file__).parents[2] / "conf/published"


def names() -> list[str]:
    """Every published table as report.published names it."""
    found = []
    for path in sorted(CONF.glob("*.yaml")):
        tasks = OmegaConf.load(path).get("tasks", {})
        found += [f"{path.stem}:{task}" for task in tasks] or [path.stem]
    return found


def row(name: str, p50_ms: float | None, speedup: float = 1.0) -> ModelResult:
    quality = {"accuracy": 0.5, "micro_f1": 0.25, "macro_f1": math.nan}
    latency = timed(p50_ms, speedup) if p50_ms else None
    return result(name, quality=quality, latency=latency, parameters=108_000_000, compression_parameters=3.05)


def cells(markdown: str) -> dict[tuple[str, str], list[str]]:
    lines = [line.strip("|").split("|") for line in markdown.splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1
    return {(line[0].strip(), line[1].strip()): [cell.strip() for cell in line[2:]] for line in lines[2:]}


@pytest.mark.parametrize("name", names())
def test_a_dashboard_gets_every_cell_of_a_published_table(name: str, tmp_path: Path) -> None:
    published = Published.named(name)
    _write_lines({}, published, [], tmp_path)
    content = read_json(tmp_path / PUBLISHED)
    table = published_frame(content)
    assert [list(line) for line in table.rows()] == content["lines"] and len(table) == len(published.rows)
    assert published_frame(None).is_empty()


@pytest.mark.parametrize("name", names())
def test_every_published_table_reads(name: str) -> None:
    published = Published.named(name)
    assert published.rows and published.notes
    console = Console(width=80, record=True, file=io.StringIO())
    table, markdown = side_by_side({}, published)
    console.print(table)
    assert max(len(line) for line in console.export_text().splitlines()) <= 80
    assert len(cells(markdown)) == len(published.rows)
    assert all(note in markdown for note in published.notes)


def test_smart_griffin_is_table_two() -> None:
    published = Published.read(CONF / "smart_griffin.yaml")
    a, b, c = (dict(zip(published.columns, published.rows[name], strict=True)) for name in "ABC")
    assert (a["accuracy"], b["micro_f1"], c["macro_f1"], c["parameters_m"]) == (64.18, 53.20, 45.42, 104)
    # The contradictions the notes speak of are in the numbers.
    assert a["latency_ms"] / b["latency_ms"] == pytest.approx(2.14, abs=0.005) and b["speedup"] == 1.76
    assert a["latency_ms"] / c["latency_ms"] == pytest.approx(2.06, abs=0.005) and c["speedup"] > b["speedup"]
    assert c["latency_ms"] > b["latency_ms"]


def test_ours_refers_to_pipeline_a_and_to_the_reference() -> None:
    rows = {"teacher": row("teacher", 40.0), "a": row("recover", 20.0, 2.0), "C": row("recover", 5.0, 8.0)}
    ours = {name: {"ours": one} for name, one in rows.items()}
    table = cells(side_by_side(ours, Published.read(CONF / "smart_griffin.yaml"))[1])
    assert [*table] == [
        ("A", "paper"),
        ("A", "ours"),
        ("B", "paper"),
        ("C", "paper"),
        ("C", "ours"),
        ("teacher", "ours"),
    ]
    assert table["A", "ours"] == ["50.00", "25.00", "–", "20.00", "108", "3.05", "1.00", "0.000", "2.00"]
    assert table["C", "ours"][-3::2] == ["4.00", "8.00"] and table["C", "paper"][-3:] == ["1.79", "–", "–"]
    assert table["teacher", "ours"][-3::2] == ["0.500", "1.00"]


def test_without_pipeline_a_there_is_no_such_speed_up() -> None:
    published = Published.read(CONF / "smart_griffin.yaml")
    table = cells(side_by_side({"C": {"ours": row("c", 5.0, 8.0)}, "TF-IDF": {"ours": row("t", None)}}, published)[1])
    assert table["C", "ours"][-3::2] == ["–", "8.00"] and table["TF-IDF", "ours"][-3::2] == ["–", "–"]


def test_readings_stand_below_each_other_with_their_deviations() -> None:
    published = Published.read(CONF / "five_strategies.yaml")
    last, kept = row("pruning", 5.0), replace(row("pruning", 5.0), deviations={"accuracy": 0.0123})
    table = cells(side_by_side({"pruning": {"last": last, "ours": kept}}, published)[1])
    assert [reading for name, reading in table if name == "pruning"] == ["paper", "last", "ours"]
    assert table["pruning", "last"][0] == "50.00" and table["pruning", "ours"][0] == "50.00 ± 1.23"


def test_five_strategies_is_table_one_and_two() -> None:
    """Its Table I is the mean of its Table II: the averages are macro averages. Low rank is where its notes say not."""
    published = Published.read(CONF / "five_strategies.yaml")
    assert published.last_epoch and set(published.labels) == {"edema", "pain", "cough", "fever", "bleeding"}
    for name, numbers in published.rows.items():
        means = np.mean([own[name] for own in published.labels.values()], axis=0)
        contradicts = name == "low_rank"
        assert (list(numbers[1:]) == pytest.approx(means.tolist(), abs=0.011)) is not contradicts, name


def test_optimclm_has_a_table_for_every_task_and_its_contradictions_are_in_the_numbers() -> None:
    expected = {"diagnoses_3digit": 85.93, "procedures_3digit": 88.67, "mortality": 84.11, "length_of_stay": 73.82}
    for task, auroc in expected.items():
        published = Published.named(f"optimclm:{task}")
        rows = {name: dict(zip(published.columns, own, strict=True)) for name, own in published.rows.items()}
        metric = "macro_auroc_ovo" if task == "length_of_stay" else "macro_auroc"
        ensemble, smallest = rows["ensemble"], rows["optimclm"]
        assert next(iter(rows)) == "ensemble" and ensemble[metric] == auroc == max(own[metric] for own in rows.values())
        assert ensemble["size_mb"] / smallest["size_mb"] == pytest.approx(22.88, abs=0.005)
        assert ensemble["latency_ms"] / smallest["latency_ms"] == pytest.approx(smallest["speedup"], abs=0.08)
        assert 0.919 < smallest[metric] / auroc < 0.9325 and 0.967 < rows["pkd_optimclm"][metric] / auroc < 0.9795
        best = max(rows[name][metric] for name in ("bert", "clinicalbert", "dischargebert", "biobert", "corebert"))
        assert best - smallest[metric] < 5 < auroc - smallest[metric] and best - rows["pkd_optimclm"][metric] < 0.8
        assert math.isnan(rows["pkd"]["size_mb"]) and (smallest["speedup"] == 28.7) is (task == "mortality")


def test_what_the_paper_has_not_is_a_dash_and_bytes_are_compared() -> None:
    ours = {
        "optimclm": {"ours": replace(row("optimclm", 5.0), quality={"macro_auroc_ovo": 0.75}, compression_bytes=30.0)}
    }
    table = cells(side_by_side(ours, Published.named("optimclm:length_of_stay"))[1])
    assert table["pkd", "paper"][:3] == ["70.23", "–", "–"] and table["optimclm", "paper"][4] == "22.9"
    assert (table["optimclm", "ours"][0], table["optimclm", "ours"][4]) == ("75.00", "30.0")


@pytest.mark.parametrize("name", ["optimclm", "optimclm:weather", "smart_griffin:mortality"])
def test_a_table_of_several_tasks_is_named_with_its_task(name: str) -> None:
    with pytest.raises(ValueError, match="optimclm:mortality|to smart_griffin"):
        Published.named(name)


def labels(**f1: float | None) -> ModelResult:
    """A result with labels; every metric is the same."""
    rows = [{"label": label} | dict.fromkeys(("accuracy", *METRICS), value) for label, value in f1.items()]
    return result("any", per_label=tuple(rows))


def test_the_best_of_every_label_is_bold() -> None:
    groups = {
        "baseline": [labels(fever=0.5, cough=0.7), labels(fever=0.7, cough=0.9)],
        "keywords": [labels(fever=0.9, cough=None)],
    }
    published = Published.read(CONF / "five_strategies.yaml")
    table = cells(label_table(groups, "ours", published.labels)[1])
    assert table["fever", "baseline"][0] == "60.00 ± 14.14" and table["fever", "keywords"][0] == "**90.00**"
    assert table["cough", "baseline"][0] == "**80.00 ± 14.14**" and table["cough", "keywords"][0] == "–"
    assert table["fever", "baseline"][-1] == "92.86/92.86/92.86/99.25"
    assert table["fever", "keywords"][-1] == "–"


@pytest.mark.parametrize(
    ("text", "law"),
    [
        ("source: s\ntable: t\ncolumns: [accuracy]", "lacks"),
        ("source: s\ntable: t\ncolumns: [colour]\nrows: {A: [1]}", "colour"),
        ("source: s\ntable: t\ncolumns: [accuracy]\nrows: {A: [1, 2]}", "must have one number per column"),
        ("source: s\ntable: t\ncolumns: [accuracy]\nrows: {A: [1]}\nlabels: {l: {A: [1, 2]}}", "precision, recall"),
        ("source: s\ntable: t\ncolumns: [accuracy]\nrows: {A: [1]}\nours: {B: [{kind: stage}]}", "ours must be"),
        ("source: s\ntable: t\ncolumns: [accuracy]\nrows: {A: [1]}\nours: {A: [{colour: red}]}", "ask for kind"),
    ],
)
def test_misfits_are_refused(tmp_path: Path, text: str, law: str) -> None:
    path = tmp_path / "table.yaml"
    with pytest.raises(FileNotFoundError, match="missing"):
        Published.read(path)
    path.write_text(text)
    with pytest.raises(ValueError, match=law):
        Published.read(path)


def staged(stage: str, *typed: str, pipeline: str = "optimclm", group: str = "", kind: Any = "stage") -> ModelResult:
    lineage = Lineage(pipeline, stage, overrides=typed)
    return replace(result(group or stage), kind=kind, group=group or stage, lineage=lineage)


def test_every_stage_of_optimclm_stands_in_its_row() -> None:
    """Of one run; the student of pipeline=ensemble is no ensemble."""
    names = ("teacher_1", "teacher_2", "student", "prune_student", "quantize")
    run = [
        *(staged(name, "task=mortality") for name in names),
        staged("", "task=mortality", group="e", kind="ensemble"),
    ]
    published = Published.named("optimclm:mortality")
    assert published.placed(run) == {
        "e": "ensemble",
        "teacher_1": "corebert",
        "teacher_2": "dischargebert",
        "student": "distillation",
        "prune_student": "distillation_pruning",
        "quantize": "optimclm",
    }
    recovered = [*run, staged("recover_student", "task=mortality")]
    assert published.placed(recovered)["recover_student"] == "distillation_pruning"
    assert "prune_student" not in published.placed(recovered)


def test_a_sweep_over_pipelines_fills_the_rows_of_its_student(tmp_path: Path) -> None:
    ends = {"ensemble": "student", "optimclm_pruning": "prune_student", "optimclm": "quantize"}
    pkd = "+experiment=optimclm_pkd"
    small = [staged(stage, f"pipeline={name}", pipeline=name, group=name) for name, stage in ends.items()]
    large = [staged(own.lineage.stage, pkd, *own.lineage.overrides, group=f"{own.group} pkd") for own in small]
    published = Published.named("optimclm:mortality")
    rows = ["distillation", "distillation_pruning", "optimclm"]
    assert [*published.placed(small).values()] == rows
    assert {*published.placed([*small, *large]).values()} == {*rows, *(f"pkd_{name}" for name in rows)}
    write_published(published, small, {}, [], tmp_path)
    table = cells((tmp_path / "published.md").read_text())
    assert ("ensemble", "ours") not in table and ("distillation", "ours") in table and ("optimclm", "ours") in table


def test_what_several_runs_would_share_stands_below_under_its_own_name(tmp_path: Path) -> None:
    """A mean over prune.ratio would look like a mean over seeds."""
    runs = [staged("quantize", f"prune.ratio={ratio}", group=f"optimclm ratio={ratio}") for ratio in (0.1, 0.3)]
    seeds = [staged("quantize", f"seed={seed}", group="optimclm") for seed in (0, 1)]
    published = Published.named("optimclm:mortality")
    assert published.placed(runs) == {} and published.placed(seeds) == {"optimclm": "optimclm"}
    write_published(published, [*runs, staged("teacher_1", group="baseline")], {}, [], tmp_path)
    assert ("optimclm ratio=0.1", "ours") in cells((tmp_path / "published.md").read_text())


def test_half_of_the_bytes_is_the_row_of_pruning_in_steps() -> None:
    published = Published.named("clinical_edge")
    run = [replace(staged(role, pipeline="pruning_iterative"), role=role) for role in ("teacher", "student")]
    assert published.placed(run) == {"student": "pruning"}
    assert published.placed([staged("student", group="Distillation")]) == {"Distillation": "distillation"}
