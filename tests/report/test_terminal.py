"""The end of a run fits its screen, and the files of a table hold what was given."""

import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from rich.console import Console
from support.reports import result

from clinlm.metrics.bootstrap import Interval
from clinlm.metrics.latency import Latency
from clinlm.report.results import ModelResult
from clinlm.report.tables import results_frame, results_markdown, write_results
from clinlm.report.terminal import SCREEN, Ending, results_table, selected_results, shortened, verdict


def row(name: str, change: Interval | None, latency: Latency | None, micro: float = 0.57) -> ModelResult:
    return result(
        name,
        kind="stage" if change else "baseline",
        key="0123456789ab" if change else "",
        role="student" if change else "",
        reference="teacher",
        quality={"accuracy": 0.8974, "micro_f1": micro, "macro_f1": 1 / 3, "macro_auroc": math.nan},
        intervals={"micro_f1": Interval(micro, 0.531, 0.609), "macro_auroc": Interval(math.nan, math.nan, math.nan)},
        differences={"micro_f1": change} if change else {},
        validation={"micro_f1": micro},
        parameters=22_713_216,
        nonzero=22_000_000,
        bytes=90_868_376,
        latency=latency,
        peak_mib=412.5 if latency else None,
        seconds=312.25,
        cached=latency is None,
        compression_parameters=333 / 108,
        compression_bytes=10 / 3,
    )


TIMED = Latency(12.593, 20.1, 31.7, 13.3, 467, 1.7612345, 1.69, 1.84, 0.01)
ROWS = (
    row("TF-IDF", Interval(-0.0724, -0.101, -0.04, 0.002), None),
    row("teacher", None, TIMED),
    row("recover_student", Interval(0.004, -0.01, 0.021, 0.6), TIMED, micro=math.nan),
    row("odd | name [red]", Interval(math.nan, math.nan, math.nan, math.nan), TIMED),
)
FAR = Path("/a/rather/long/path/of/a/store/that/somebody/has/on/a/server/recover_student-0123456789ab")


def printed(shown: object, width: int) -> list[str]:
    console = Console(width=width, record=True, force_terminal=False, file=io.StringIO())
    if isinstance(shown, Ending):
        shown.print(console)
    else:
        console.print(shown)
    return console.export_text().splitlines()


def many(count: int) -> list[ModelResult]:
    """Results of a sweep with long names; the last has the best quality on validation."""
    names = [f"pruning_structured ratio=0.{n} learning_rate=0.0001 s{n}" for n in range(count)]
    models = [replace(ROWS[2], name=name, validation={"micro_f1": n / 100}) for n, name in enumerate(names)]
    return [ROWS[0], replace(ROWS[0], name="TF-IDF int8"), ROWS[1], *models]


@pytest.mark.parametrize("count", [1, 4, 11, 60])
def test_the_end_fits_one_screen(count: int) -> None:
    """Paths and commands may be long: the terminal wraps them, and they count as the lines that they take."""
    results = many(count)
    lines = [f"artifact   {FAR}", f"next       clinlm task=mtsamples task.root={FAR} model@teacher=biolinkbert_base"]
    ending = Ending("The last stage of 60 pipelines, on test", results, results[-1].name, "micro_f1", lines)
    shown = printed(ending, SCREEN[0])
    whole = [line for line in shown if not line.startswith(("artifact", "next"))]
    assert max(len(line.rstrip()) for line in whole) <= SCREEN[0]
    assert sum(max(1, math.ceil(len(line.rstrip()) / SCREEN[0])) for line in shown) < SCREEN[1]
    text = "\n".join(shown)
    assert (
        "TF-IDF" in text
        and "TF-IDF int8" in text
        and "teacher" in text
        and "s" + str(count - 1) in text
        and "verdict" in text
    )
    assert ("more rows in the report" in text) is (count == 60)


@pytest.mark.parametrize("width", [80, 120])
def test_no_number_is_broken_over_lines(width: int) -> None:
    text = "\n".join(printed(results_table(ROWS, "Pipeline C", "micro_f1", width), width))
    for number in ("57.00 (53.1–60.9)", "-7.24*", "+0.40", "12.6", "1.76", "90.9", "3.33"):
        assert number in text
    assert "+0.40*" not in text and "recover_student" in text and "odd | name [red]" in text


def test_the_verdict_is_what_the_intervals_show() -> None:
    def judged(low: float, high: float, value: float = 0.01) -> str:
        changed = replace(ROWS[2], differences={"micro_f1": Interval(value, low, high, 0.1)})
        return " ".join(verdict([*ROWS[:2], changed], "recover_student", "micro_f1"))

    assert "recover_student is better than teacher: micro F1 +1.00 (+0.1…+2.0)" in judged(0.001, 0.02)
    assert "is worse than teacher" in judged(-0.02, -0.001)
    assert "shows no difference from teacher" in judged(-0.001, 0.02)
    assert "cannot be compared with teacher" in judged(math.nan, math.nan, math.nan)
    assert "teacher is the reference: micro F1 57.00 %" in verdict(ROWS, "teacher", "micro_f1")[0]


def test_a_long_verdict_keeps_to_its_lines() -> None:
    """What is said first about a model is kept; the report says the rest."""
    results = many(60)
    dominated = [replace(own, dominated_by=(results[-1].name,)) for own in results]
    for subject in (results[-1].name, results[5].name):
        lines = verdict(dominated, subject, "micro_f1")
        assert len(lines) <= 8 and max(map(len, lines)) <= SCREEN[0] and lines[0].startswith("verdict    ")


def test_rows_are_left_out_by_validation_alone() -> None:
    results = many(20)
    kept = selected_results(results, results[4].name, "micro_f1", 5)
    assert [each.name for each in kept] == [results[n].name for n in (0, 1, 2, 4, 22)]


def test_long_names_lose_their_middle() -> None:
    assert shortened("teacher", 8) == "teacher" and shortened("pruning ratio=0.1 s12", 9) == "prun… s12"


def test_markdown_reads_back() -> None:
    lines = results_markdown(ROWS).splitlines()
    split = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    assert len({len(cells) for cells in split}) == 1 and len(lines) == len(ROWS) + 2
    shown = {cells[0].strip().replace("\\|", "|"): [cell.strip() for cell in cells] for cells in split[2:]}
    assert list(shown) == [each.name for each in ROWS]
    assert shown["teacher"][5] == "–" and shown["recover_student"][2].startswith("–")
    assert shown["TF-IDF"][5] == "-7.24* (-10.1…-4.0)" and shown["teacher"][9] == "1.76 (1.69–1.84)"


def test_csv_reads_back_equal(tmp_path: Path) -> None:
    _, csv, _ = write_results(ROWS, tmp_path, "table")
    whole = results_frame(ROWS)
    assert_frame_equal(pl.read_csv(csv, schema=dict(whole.schema), empty_string_is_null=False), whole)
    assert whole["latency_speedup"].to_list() == [None, *[TIMED.speedup] * 3]
    assert whole["micro_f1_delta"][0] == -0.0724 and whole["macro_f1_delta"].is_null().all()


def test_json_holds_everything(tmp_path: Path) -> None:
    labelled = [replace(each, per_label=({"label": "a", "f1": 1 / 3, "auroc": None},)) for each in ROWS]
    path, _, text, labels = write_results(labelled, tmp_path / "new", "table", ["3 of 9 notes dropped: empty text"])
    read = json.loads(path.read_text())
    assert read["per_label"]["teacher"] == [{"label": "a", "f1": 1 / 3, "auroc": None}]
    teacher = read["rows"][1]
    assert teacher["latency"]["speedup"] == TIMED.speedup and teacher["compression_bytes"] == 10 / 3
    assert teacher["quality"]["macro_auroc"] is None and read["rows"][0]["latency"] is None
    assert {*teacher, "per_label"} == set(ModelResult.__dataclass_fields__)
    assert read["notices"] == ["3 of 9 notes dropped: empty text"] and "3 of 9 notes" in text.read_text()
    assert pl.read_csv(labels).columns == ["name", "label", "f1", "auroc"]


def test_writing_again_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_results(ROWS, tmp_path, "table")
    write_results(ROWS[:1], tmp_path, "table")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table.csv", "table.json", "table.md"]
    assert len(json.loads((tmp_path / "table.json").read_text())["rows"]) == 1


def test_no_rows_is_a_table_without_rows(tmp_path: Path) -> None:
    _, csv, _ = write_results((), tmp_path, "empty")
    assert len(results_frame(())) == 0 and csv.read_text().startswith("name,kind,key,role")
