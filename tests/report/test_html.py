"""Laws of the page of a report: what it says, what it escapes, and that it asks nothing of the network."""

import json
import random
import re
import shlex
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.broken_models import WAYS
from support.reports import result

from clinlm.config.errors import DataError
from clinlm.metrics.bootstrap import Interval, resample
from clinlm.metrics.evaluation import LabelEvaluation
from clinlm.metrics.noninferiority import NonInferiority, Outcome
from clinlm.pipeline.run_record import RunRecord, StageRecord, TaskRecord, write_run_file
from clinlm.report.html.answer import answer
from clinlm.report.html.axis import Axis
from clinlm.report.html.page import html_report, write_page
from clinlm.report.html.scatter import CHARACTER, HEIGHT, WIDTH, Point, scatter
from clinlm.report.html.words import minus
from clinlm.report.label_differences import label_differences
from clinlm.report.results import Lineage, ModelResult, results_content
from clinlm.report.written import WrittenReport, read_json

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
    write_run_file(tmp_path / "2" / "gate.json", {"message": "gate medium failed"})
    [path] = html_report(tmp_path, {})
    text = Path(path).read_text(encoding="utf-8")
    assert "No job of this sweep has finished" in text and "3 jobs did not finish" in text
    assert re.findall(r"job (\d+)</strong>", text) == ["0", "2", "10"]
    assert "gate medium failed" in text and EVIL not in text


VALUES = st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=9)


@given(VALUES, st.booleans())
def test_an_axis_keeps_order_and_its_ticks_are_on_it(values: list[float], logarithmic: bool) -> None:
    axis = Axis.around(values, 50, 400, logarithmic)
    places = [axis.place(value) for value in sorted(values)]
    assert places == sorted(places) and all(50 <= place <= 400 for place in places)
    ticks = axis.ticks()
    assert 1 <= len(ticks) <= 7 and all(50 <= place <= 400 for place, _ in ticks)
    for place, label in ticks:
        assert abs(axis.place(float(label.replace(",", ""))) - place) <= 0.2


@given(st.lists(st.tuples(st.floats(0.1, 100), st.floats(0, 100)), min_size=1, max_size=30))
def test_names_in_a_plot_cover_neither_points_nor_names(places: list[tuple[float, float]]) -> None:
    nan = float("nan")
    points = [Point(f"model {n}", n, x, y, nan, nan, "compressed") for n, (x, y) in enumerate(places)]
    marks = scatter("k", "MB", "F1", points).marks
    boxes = []
    for mark in marks:
        assert 0 <= mark.x <= WIDTH and 0 <= mark.y <= HEIGHT
        if mark.label:
            width = len(mark.label) * CHARACTER
            left = mark.label_x - {"start": 0.0, "middle": width / 2, "end": width}[mark.anchor]
            boxes.append((mark, left, mark.label_y - 4, left + width))
    for mark, left, y, right in boxes:
        for other in marks:
            assert other is mark or not (left < other.x < right and abs(y - other.y) < 6)
        for other, a, b, c in boxes:
            assert other is mark or c <= left or right <= a or abs(b - y) >= 12.9


def test_differences_by_label_are_those_of_the_resamples_one_by_one() -> None:
    draws = np.random.default_rng(3)
    targets = draws.random((40, 3)) < 0.4
    first, second = (
        LabelEvaluation(targets, draws.random((40, 3)), np.full(3, 0.5), ["a", "b", "c"], "multilabel")
        for _ in range(2)
    )
    groups = np.arange(40) // 2

    def f1(own: LabelEvaluation, weights: np.ndarray[Any, Any], label: int) -> float:
        decided = own.probabilities[:, label] >= 0.5
        hit = sum(w for w, t, d in zip(weights, targets[:, label], decided, strict=True) if t and d)
        return 2 * hit / sum(w * (int(t) + int(d)) for w, t, d in zip(weights, targets[:, label], decided, strict=True))

    found = label_differences(first, second, resample(40, 50, 1, groups))
    for place, label in enumerate(first.labels):
        slow = [f1(second, w, place) - f1(first, w, place) for w in resample(40, 50, 1, groups)]
        expected = Interval.difference(np.array(slow))
        assert found[label].value == pytest.approx(expected.value)
        assert (found[label].low, found[label].high) == pytest.approx((expected.low, expected.high))


def judged(outcome: Outcome, value: float = -0.01, caveat: str = "") -> NonInferiority:
    change = Interval(value, value - 0.005, value + 0.005, 0.5)
    return NonInferiority(outcome, outcome, "micro_f1", 0.02, change, 0.003, 0.01, 0.9, units=400, caveat=caveat)


@pytest.mark.parametrize(
    ("outcome", "tone", "said"),
    [("non-inferior", "yes", "small may replace teacher: it loses 1.00 points of micro F1"),
     ("undecided", "open", "Not shown: small may lose more than the margin"),
     ("inferior", "open", "Not shown: small loses more than the margin")],
)  # fmt: skip
def test_the_answer_follows_the_verdict(outcome: Outcome, tone: str, said: str) -> None:
    results = pair(non_inferiority=judged(outcome))
    found = answer(results, "small", "micro_f1", "test")
    assert found.question == "May small replace teacher?" and found.tone == tone
    assert found.sentences[0].startswith(said) and "margin 2" in found.sentences[0]


def test_a_late_margin_is_told_in_the_answer() -> None:
    found = answer(
        pair(non_inferiority=judged("non-inferior", caveat="margin fixed late")), "small", "micro_f1", "test"
    )
    assert found.sentences[1] == "This confirms nothing yet: margin fixed late."


def test_where_tfidf_is_better_the_answer_is_to_use_it() -> None:
    results = [
        result("TF-IDF", 0.9, 0.5, kind="baseline", reference="teacher"),
        *pair(non_inferiority=judged("non-inferior")),
    ]
    found = answer(results, "small", "micro_f1", "test")
    assert found.tone == "no" and found.about == "TF-IDF" and found.sentences[0].startswith("Use TF-IDF instead")


def test_a_page_needs_no_plotting_library_and_no_model(tmp_path: Path) -> None:
    before = set(sys.modules)
    write_page(written(tmp_path, pair()))
    assert not {
        name for name in set(sys.modules) - before if name.startswith(("matplotlib", "onnxruntime", "openvino"))
    }


def test_results_without_anything_make_a_page(tmp_path: Path) -> None:
    lone = replace(result("only", 0.5, None), quality={}, bytes=0, parameters=0)
    for results in ([lone], [replace(lone, quality={"micro_f1": float("nan")})], [*pair(), lone]):
        assert write_page(written(tmp_path, results)).stat().st_size > 1000


def test_a_minus_is_put_before_numbers_only() -> None:
    assert minus("TF-IDF -1.2 (-3.4…-0.1) 2026-11-29, a-1") == "TF-IDF −1.2 (−3.4…−0.1) 2026-11-29, a-1"


@pytest.mark.parametrize("content", [b"", b"{", b"\x80", b"[" * 100_000])
def test_a_damaged_file_of_a_run_is_named(content: bytes, tmp_path: Path) -> None:
    assert read_json(tmp_path / "validation.json") is None
    (tmp_path / "validation.json").write_bytes(content)
    with pytest.raises(DataError, match=r"validation\.json must be JSON .* is damaged; run its command again"):
        read_json(tmp_path / "validation.json")


@pytest.mark.parametrize("name", ["run.json", "table.json"])
def test_damage_in_what_reports_are_made_of_is_named(name: str, tmp_path: Path) -> None:
    """A file that is cut, or has a flipped bit, is read or refused by its name: nothing else is raised."""
    run = tmp_path / "run"
    run.mkdir()
    task = TaskRecord("0123456789ab", {}, {}, ())
    stages = (StageRecord("student", "student", "/store/student-0123456789ab", False),)
    RunRecord("c", 0, (), "/store", "val/macro_f1", task, stages, {}, None, (), {}, None).write(run)
    write_run_file(run / "table.json", results_content(pair(), ["a notice"], ["A sentence."], "small"))
    whole = (run / name).read_bytes()
    assert WrittenReport.read(run).results
    refused = 0
    for place in range(0, len(whole), 7):
        for damaged in (whole[:place], whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :]):
            (run / name).write_bytes(damaged)
            try:
                WrittenReport.read(run)
            except DataError as error:
                assert name in str(error)
                refused += 1
    assert refused > len(whole) / 7
    rng = random.Random(0)
    for _ in range(200):
        changed = WAYS["retyped"](whole, rng) or b""
        if json.loads(changed) != json.loads(whole):
            (run / name).write_bytes(changed)
            with pytest.raises(DataError, match=name):
                WrittenReport.read(run)
