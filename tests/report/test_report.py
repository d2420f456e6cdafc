"""The report of a run: its files, one screen at its end, and what is printed only where it is asked for."""

import io
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.pipelines import composed
from support.reports import recorded, result

from clinlm.config.errors import ConfigError
from clinlm.pipeline.run_record import RunRecord
from clinlm.report import report as module
from clinlm.report.html.page import write_page
from clinlm.report.report import Report
from clinlm.report.results import Lineage
from clinlm.report.settings import SHOWN, ReportSettings
from clinlm.report.written import WrittenReport
from clinlm.store.content import recorded_json
from clinlm.tasks.base import Task

pytestmark = pytest.mark.usefixtures("quick")
SETS = ("gate.coverage=null", "gate.set_size=null")
"""Limits that two dozen notes cannot keep."""

LINES = ["artifact   outputs/store/recover_student-0123456789ab", "next       clinlm -m pipeline=a,b,c"]


@pytest.fixture(scope="module")
def finished(notes_csv: Path, tmp_path_factory: pytest.TempPathFactory, quick: None) -> tuple[RunRecord, Task]:
    root = tmp_path_factory.mktemp("reported") / "store"
    return recorded(
        composed(notes_csv, root, "pipeline=c", "epochs=1", "gate=low", "gate.judge=point", "gate.floor=null", *SETS)
    )


def printed(run: RunRecord, task: Task, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Report, list[str]]:
    """The report of a run, and its screen of 80 columns."""
    console = Console(width=80, record=True, force_terminal=False, file=io.StringIO())
    monkeypatch.setattr(module, "make_console", lambda: console)
    report = Report([run], (task, None), folder, stages=True)
    report.print("Pipeline c: every stage on test", report.results[-1].name, LINES)
    return report, console.export_text().splitlines()


def test_the_end_of_a_run_is_one_screen(
    finished: tuple[RunRecord, Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report, lines = printed(*finished, tmp_path, monkeypatch)
    wrapped = sum(max(1, -(-len(line.rstrip()) // 80)) for line in lines)
    assert wrapped < 30 and max(len(line.rstrip()) for line in lines if " " in line.strip()) <= 120
    headings = [
        line.split()[0] for line in lines if line.startswith(("verdict", "gate ", "report", "artifact", "next"))
    ]
    assert headings == ["verdict", "gate", "report", "artifact", "next"]
    names = {"gates.md", "gates_numbers.md", "devices.md", "methods.md", "validation.md"}
    assert names <= set(report.files) and all((tmp_path / name).is_file() for name in report.files)
    text = "\n".join(lines)
    assert all(name in text for name in names)
    said = re.search(r"use (TF-IDF(?: int8)?)(?=,)", " ".join(report.conclusion))
    keys = {result.name: result.key for result in report.results}
    told = shlex.split(report.next_line("clinlm pipeline=c"))
    expected = ["clinlm", "predict"] if said else ["clinlm", "pipeline=c"]
    assert told[:3] == ["next", *expected] and (not said or told[3].endswith(keys[said[1]]))
    assert all(stage.name in text for stage in finished[0].stages) or "more rows in the report" in text
    assert "device" not in text.replace("devices.md", "") and "validated" not in text and "FFN units" not in text


def test_a_page_reads_the_report_of_a_stage_once(
    finished: tuple[RunRecord, Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = finished
    last = result("recover_student", lineage=Lineage("c", folder=run.stages[-1].folder))
    written = WrittenReport(tmp_path, (run,), (last,), (), (), None, places=(tmp_path,))
    asked: list[Path] = []

    def counted(folder: Path, name: str) -> Any:
        asked.append(folder / name)
        return recorded_json(folder, name)

    monkeypatch.setattr("clinlm.report.html.sources.recorded_json", counted)
    write_page(written)
    stages = [path for path in asked if path.name == "report.json"]
    assert sorted(stages) == sorted(Path(stage.folder) / "report.json" for stage in run.stages)


def test_parts_are_printed_where_they_are_asked_for(
    finished: tuple[RunRecord, Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, task = finished
    run = replace(run, report={**run.report, "show": list(SHOWN)})
    text = "\n".join(printed(run, task, tmp_path, monkeypatch)[1])
    for part in (
        "Raspberry Pi 5: fits",
        "test documents, the same for both",
        "FFN units",
        "By label",
        "critical fails",
    ):
        assert part in text
    with pytest.raises(ConfigError, match="report.show must be a list of gates"):
        ReportSettings(show=["everything"])
