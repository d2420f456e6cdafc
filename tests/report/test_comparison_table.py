"""The table fits its terminal, and its files hold what was given."""

import io
import json
import math
import re
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from rich.console import Console

from clinlm.metrics.bootstrap import Interval
from clinlm.metrics.latency import Latency
from clinlm.report.row import Row
from clinlm.report.table import frame, markdown, render, write


def row(name: str, change: Interval | None, latency: Latency | None, micro: float = 0.57) -> Row:
    return Row(
        name=name,
        kind="stage" if change else "baseline",
        key="0123456789ab" if change else "",
        role="student" if change else "",
        quality={"accuracy": 0.8974, "micro_f1": micro, "macro_f1": 1 / 3, "macro_auroc": math.nan},
        intervals={"micro_f1": Interval(micro, 0.531, 0.609), "macro_auroc": Interval(math.nan, math.nan, math.nan)},
        differences={"micro_f1": change} if change else {},
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
    row("TF-IDF + logistic regression", Interval(-0.0724, -0.101, -0.04, 0.002), None),
    row("teacher", None, TIMED),
    row("recover_student", Interval(0.004, -0.01, 0.021, 0.6), TIMED, micro=math.nan),
    row("odd | name [red]", Interval(math.nan, math.nan, math.nan, math.nan), TIMED),
)


def printed(table: object, width: int) -> str:
    console = Console(width=width, record=True, force_terminal=False, file=io.StringIO())
    console.print(table)
    return console.export_text()


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], ()])
def test_fits(width: int, rows: tuple[Row, ...]) -> None:
    text = printed(render(rows, "Pipeline C on notes"), width)
    assert max(len(line) for line in text.splitlines()) <= width
    for each in rows:
        assert each.name.split()[0] in text


@pytest.mark.parametrize("width", [80, 120])
def test_no_number_is_broken_over_lines(width: int) -> None:
    text = printed(render(ROWS, "Pipeline C"), width)
    for number in ("89.74", "57.00", "53.1–60.9", "-7.24*", "-10.1…-4.0", "+0.40", "12.6", "1.76", "1.69–1.84", "22.7"):
        assert number in text
    assert "+0.40*" not in text and "3.08×" in text and "recover_student" in text and "[red]" in text


def test_markdown_reads_back() -> None:
    lines = markdown(ROWS).splitlines()
    split = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    assert len({len(cells) for cells in split}) == 1 and len(lines) == len(ROWS) + 2
    table = {cells[0].strip().replace("\\|", "|"): [cell.strip() for cell in cells] for cells in split[2:]}
    assert list(table) == [each.name for each in ROWS]
    assert table["teacher"][4] == "–" and table["recover_student"][2].startswith("–")


def test_csv_reads_back_equal(tmp_path: Path) -> None:
    _, csv, _ = write(ROWS, tmp_path, "table")
    whole = frame(ROWS)
    assert_frame_equal(pl.read_csv(csv, schema=dict(whole.schema), empty_string_is_null=False), whole)
    assert whole["latency_speedup"].to_list() == [None, *[TIMED.speedup] * 3]
    assert whole["micro_f1_delta"][0] == -0.0724 and whole["macro_f1_delta"].is_null().all()


def test_json_holds_everything(tmp_path: Path) -> None:
    labels = pl.DataFrame({"label": ["a"], "f1": [1 / 3], "auroc": [None]}, schema_overrides={"auroc": pl.Float64})
    path, _, text = write(ROWS, tmp_path / "new", "table", {"teacher": labels}, ["3 of 9 notes dropped: empty text"])
    read = json.loads(path.read_text())
    assert read["per_label"]["teacher"] == [{"label": "a", "f1": 1 / 3, "auroc": None}]
    teacher = read["rows"][1]
    assert teacher["latency"]["speedup"] == TIMED.speedup and teacher["compression_bytes"] == 10 / 3
    assert teacher["quality"]["macro_auroc"] is None and read["rows"][0]["latency"] is None
    assert set(teacher) == set(Row.__dataclass_fields__)
    assert read["notices"] == ["3 of 9 notes dropped: empty text"] and "3 of 9 notes" in text.read_text()


def test_writing_again_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    write(ROWS, tmp_path, "table")
    write(ROWS[:1], tmp_path, "table")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table.csv", "table.json", "table.md"]
    assert len(json.loads((tmp_path / "table.json").read_text())["rows"]) == 1


def test_no_rows_is_a_table_without_rows(tmp_path: Path) -> None:
    _, csv, _ = write((), tmp_path, "empty")
    assert len(frame(())) == 0 and csv.read_text().startswith("name,kind,key,role")


def test_a_table_of_labels_without_a_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none of the rows"):
        write(ROWS, tmp_path, "table", {"nobody": pl.DataFrame()})
    assert not list(tmp_path.iterdir())
