"""Laws of the grid: a line a pipeline, a column a combination, nothing where no job had it."""

from dataclasses import replace

from support.reports import result

from clinlm.metrics.bootstrap import Interval
from clinlm.report import cells
from clinlm.report.grid import grid_cells
from clinlm.report.results import Lineage, ModelResult


def last(pipeline: str, settings: str, f1: float, **fields: object) -> ModelResult:
    """The last model of a job."""
    name = f"{pipeline} {settings}".strip()
    made = result(name, f1, group=name, lineage=Lineage(pipeline=pipeline, stage="s"))
    return replace(made, bytes=2_000_000, intervals={"micro_f1": Interval(f1, f1 - 0.1, f1 + 0.1)}, **fields)  # type: ignore[arg-type]


def test_pipelines_meet_methods() -> None:
    teacher = result("teacher", group="teacher", lineage=Lineage(pipeline="a", stage="teacher"))
    found = [teacher, last("a", "q=none", 0.5), last("a", "q=static", 0.4), last("b", "p=x q=none", 0.3)]
    found.append(
        replace(last("a", "q=none", 0.45), name="a q=none @onnx", engine="onnx", deployment={"of": "a q=none"})
    )
    header, lines = grid_cells(found, "micro_f1") or ([], [])
    assert header == ["pipeline", "", "q=none", "q=static", "p=x q=none"]
    assert [line[0] for line in lines[::3]] == ["a", "b", "a @onnx"]
    assert lines[0][1:] == ["micro F1 %", "50.00 (40.0–60.0)", "40.00 (30.0–50.0)", cells.NONE]
    assert lines[1] == ["", "MB", "2.00", "2.00", cells.NONE] and lines[3][2:] == [
        cells.NONE,
        cells.NONE,
        "30.00 (20.0–40.0)",
    ]


def test_there_is_no_grid_of_one_line_or_column() -> None:
    assert grid_cells([last("a", "q=none", 0.5), last("a", "q=static", 0.4)], "micro_f1") is None
    assert grid_cells([last("a", "", 0.5), last("b", "", 0.4)], "micro_f1") is None


def test_seeds_become_a_mean() -> None:
    seeds = [last(name, q, f1) for name in "ab" for q in ("q=none", "q=int4") for f1 in (0.4, 0.6)]
    header, lines = grid_cells(seeds, "micro_f1") or ([], [])
    assert len(header) == 4 and lines[0][2:] == ["50.00 ± 14.14"] * 2
