"""The page of a report in a real browser: nothing fails, nothing is asked for, and what a reader does works."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.browser import Page, browser, find_browser
from support.reports import result, timed

from clinlm.metrics.bootstrap import Interval
from clinlm.report.html.page import html_report, write_page
from clinlm.report.pareto import command
from clinlm.report.results import Lineage, ModelResult
from clinlm.report.written import WrittenReport

pytestmark = pytest.mark.integration
EVIL = "<script>window.evil=1</script><img src=x onerror='window.evil=1'>"
MOST_BYTES = 1_000_000


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    find_browser()
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def sweep(models: int) -> list[ModelResult]:
    """Return a teacher and compressed models, better and dearer by turns, each with labels."""
    labels = tuple({"label": f"label {n} {EVIL}", "support": n, "f1": 0.5 + n / 100} for n in range(20))
    teacher = result("teacher", 0.8, 90.0, role="teacher", reference="teacher", bytes=90_000_000, per_label=labels)
    found = [replace(teacher, intervals={"micro_f1": Interval(0.8, 0.77, 0.83)}, validation={"micro_f1": 0.8})]
    for n in range(models - 1):
        value, change = 0.6 + (n * 37 % 200) / 1000, Interval(-0.02, -0.04, 0.01, 0.3)
        lineage = Lineage(
            "c", f"s{n}", techniques=("pruning",), overrides=("pipeline=c", f"prune.ratio=0.{n}", "a=b c")
        )
        settings: dict[str, Any] = {"role": "student", "reference": "teacher", "lineage": lineage, "per_label": labels}
        settings |= {"intervals": {"micro_f1": Interval(value, value - 0.02, value + 0.02)}, "bytes": 10**6 * (n + 1)}
        settings |= {"differences": {"micro_f1": change}, "validation": {"micro_f1": value}}
        dominated = ("teacher",) if n % 3 == 0 else ()
        own = result(f"c prune.ratio=0.{n}", value, None, latency=timed(2.0 + n, 90 / (2 + n)), **settings)
        found.append(replace(own, dominated_by=dominated, compression_bytes=90 / (n + 1)))
    return found


def opened(page: Page, folder: Path, results: list[ModelResult], **window: Any) -> Path:
    path = write_page(WrittenReport(folder, (), tuple(results), (EVIL,), ("A sentence.",), None))
    page.open(path, **window)
    return path


@pytest.mark.parametrize("window", [{}, {"dark": True}, {"width": 390, "height": 844}], ids=["light", "dark", "phone"])
def test_nothing_fails_and_nothing_is_asked_for(page: Page, tmp_path: Path, window: dict[str, Any]) -> None:
    opened(page, tmp_path, sweep(12), **window)
    assert page.run("document.documentElement.dataset.ready") == ""
    assert page.problems == [] and page.requests == []
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    page.pdf(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


def test_what_users_name_does_not_run(page: Page, tmp_path: Path) -> None:
    named = replace(sweep(3)[1], name=EVIL, group=EVIL)
    opened(page, tmp_path, [*sweep(3), named])
    assert page.run("window.evil") is None and page.problems == []
    assert EVIL in page.run("document.body.innerText")


def test_the_policy_refuses_every_request_and_other_scripts(page: Page, tmp_path: Path) -> None:
    opened(page, tmp_path, sweep(3))
    refused = page.run("""new Promise(done => {
        const seen = [];
        document.addEventListener("securitypolicyviolation", event => {
            if (seen.push(event.effectiveDirective) === 2) done(seen.sort());
        });
        new Image().src = "http://127.0.0.1:9/pixel";
        document.body.append(Object.assign(document.createElement("script"), {textContent: "window.evil = 1"}));
    })""")
    assert refused == ["img-src", "script-src-elem"] and page.run("window.evil") is None


def names(page: Page) -> list[str]:
    found = page.run("[...document.querySelectorAll('#table tbody tr')].filter(r => !r.hidden).map(r => r.dataset.n)")
    return [str(name) for name in found]


def test_headings_sort(page: Page, tmp_path: Path) -> None:
    models = sweep(9)
    opened(page, tmp_path, models)
    heads = page.run("[...document.querySelectorAll('#table thead button')].map(b => b.textContent)")
    place = heads.index("MB")
    by_bytes = sorted(range(len(models)), key=lambda n: -models[n].bytes)
    for expected, said in ((by_bytes, "descending"), (by_bytes[::-1], "ascending")):
        page.run(f"document.querySelectorAll('#table thead button')[{place}].click()")
        assert names(page) == [str(n) for n in expected]
        assert page.run(f"document.querySelectorAll('#table thead th')[{place}].getAttribute('aria-sort')") == said


def test_a_filter_hides_rows_and_fades_marks(page: Page, tmp_path: Path) -> None:
    models = sweep(9)
    opened(page, tmp_path, models)
    page.run("document.getElementById('words').focus()")
    page.call("Input.insertText", text="RATIO=0.3 pruning")
    assert names(page) == ["4"]
    assert page.run("document.getElementById('count').textContent") == "1 of 9 models"
    assert page.run("new Set([...document.querySelectorAll('.mark:not(.dim)')].map(m => m.dataset.n)).size") == 1
    page.run("document.getElementById('words').select()")
    page.call("Input.insertText", text=" ")
    page.run("document.getElementById('undominated').click()")
    assert names(page) == [str(n) for n, own in enumerate(models) if not own.dominated_by]


def test_pointing_at_a_mark_gives_its_command(page: Page, tmp_path: Path) -> None:
    models = sweep(9)
    opened(page, tmp_path, models)
    page.run("document.getElementById('plots').scrollIntoView({behavior: 'instant'})")
    at = page.run("""(() => {
        const r = document.querySelector('.panels:not([hidden]) .mark[data-n="8"] use').getBoundingClientRect();
        return [r.x + r.width / 2, r.y + r.height / 2];
    })()""")
    page.mouse("move", *at)
    assert page.run("document.getElementById('tip').hidden") is False
    assert page.run("document.querySelector('#tip code').textContent") == command(models[8])
    assert page.run("document.getElementById('m8').classList.contains('lit')")
    page.mouse("move", 1, 1)
    assert page.run("document.getElementById('tip').hidden") is True


def test_marks_are_reached_by_keys(page: Page, tmp_path: Path) -> None:
    models = sweep(9)
    opened(page, tmp_path, models)
    page.run("document.querySelector('input[name=metric]:checked').focus()")
    page.key("Tab")
    first = page.run("document.activeElement.dataset.n")
    page.key("ArrowRight")
    second = page.run("document.activeElement.dataset.n")
    assert first is not None and second is not None and first != second
    page.key("Enter", "\r")
    assert page.run("document.querySelector('#tip em').textContent") == "command copied"
    page.key("Escape")
    assert page.run("document.getElementById('tip').hidden") is True
    page.key("Tab")
    assert page.run("document.activeElement.ownerSVGElement.getAttribute('aria-label')").endswith("decisions")


def test_200_runs_fit_a_megabyte_and_work(page: Page, tmp_path: Path) -> None:
    path = opened(page, tmp_path, sweep(200))
    assert path.stat().st_size <= MOST_BYTES
    assert page.problems == [] and len(names(page)) == 200
    for place in range(3):
        page.run(f"document.querySelectorAll('#table thead button')[{place}].click()")
    assert len(names(page)) == 200


def test_a_sweep_without_a_finished_job_is_a_page(page: Page, tmp_path: Path) -> None:
    (tmp_path / "0" / ".hydra").mkdir(parents=True)
    (tmp_path / "0" / ".hydra" / "overrides.yaml").write_text(f"- {json.dumps(EVIL)}\n")
    page.open(Path(html_report(tmp_path, {})[0]))
    assert page.problems == [] and page.requests == [] and page.run("window.evil") is None
    assert "1 job did not finish" in page.run("document.body.innerText")


def test_failed_jobs_are_told_above_the_table(page: Page, tmp_path: Path) -> None:
    (tmp_path / "7" / ".hydra").mkdir(parents=True)
    (tmp_path / "7" / ".hydra" / "overrides.yaml").write_text("- prune.ratio=0.9\n")
    opened(page, tmp_path, sweep(3))
    text = page.run("document.body.innerText")
    assert "prune.ratio=0.9" in text and text.index("1 job did not finish") < text.index("All models")
