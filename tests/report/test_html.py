"""Laws of the page of a report: what it says, what it escapes, and that it asks nothing of the network."""

import re
import shlex
from html.parser import HTMLParser
from pathlib import Path

from support.reports import result

from clinlm.metrics.bootstrap import Interval
from clinlm.report.html.page import html_report, write_page
from clinlm.report.results import Lineage, ModelResult
from clinlm.report.written import WrittenReport

EVIL = '<script>alert("x")</script>'


def written(folder: Path, results: list[ModelResult], *notices: str) -> WrittenReport:
    return WrittenReport(folder, (), tuple(results), notices, (), None)


def pair(**fields: object) -> list[ModelResult]:
    change = Interval(-0.01, -0.02, 0.005, 0.2)
    teacher = result("teacher", 0.8, 9.0, role="teacher", reference="teacher", bytes=9_000_000)
    small = {"role": "student", "reference": "teacher", "bytes": 2_000_000, "differences": {"micro_f1": change}}
    small |= {"validation": {"micro_f1": 0.7}, "lineage": Lineage("c", overrides=("pipeline=c", "note=a b"))}
    return [teacher, result("small", 0.79, 3.0, **(small | fields))]


class Tags(HTMLParser):
    """The tags of a page, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_what_users_name_stays_text(tmp_path: Path) -> None:
    evil = pair(lineage=Lineage(EVIL, overrides=(EVIL, "' onload='x")))
    named = [evil[0], result(EVIL, 0.5, 2.0, role="student", reference="teacher", validation={"micro_f1": 0.5})]
    text = write_page(written(tmp_path, [*evil, *named[1:]], EVIL)).read_text(encoding="utf-8")
    scripts = [attributes for tag, attributes in Tags(text).found if tag == "script"]
    assert len(scripts) == 2 and scripts[0] == {"type": "application/json", "id": "model-data"}
    assert EVIL not in text


def test_a_page_names_nothing_outside_itself(tmp_path: Path) -> None:
    text = write_page(written(tmp_path, pair())).read_text(encoding="utf-8")
    for _, attributes in Tags(text).found:
        for name in ("src", "href", "action", "data"):
            assert (attributes.get(name) or "#").startswith(("#", "data:,"))
    assert not re.search(r"url\(|@import|https?://", text)
    assert "default-src 'none'" in text


def test_every_command_is_there(tmp_path: Path) -> None:
    text = write_page(written(tmp_path, pair())).read_text(encoding="utf-8")
    assert shlex.join(["clinlm", "pipeline=c", "note=a b"]).replace("'", "\\u0027") in text


def test_a_sweep_without_a_finished_job_lists_them(tmp_path: Path) -> None:
    for job, overrides in (("0", ["prune.ratio=0.9"]), ("10", [EVIL]), ("2", [])):
        (tmp_path / job / ".hydra").mkdir(parents=True)
        lines = "".join(f"- '{own}'\n" for own in overrides) or "[]\n"
        (tmp_path / job / ".hydra" / "overrides.yaml").write_text(lines)
    (tmp_path / "2" / "gate.json").write_text('{"message": "gate medium failed"}')
    [path] = html_report(tmp_path, {})
    text = Path(path).read_text(encoding="utf-8")
    assert "No job of this sweep has finished" in text and "3 jobs did not finish" in text
    assert re.findall(r"job (\d+)</strong>", text) == ["0", "2", "10"]
    assert "gate medium failed" in text and EVIL not in text
