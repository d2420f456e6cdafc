"""Laws of the table of entities: intervals of labels are those of repeated documents, and what is written is read."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from support.reports import result

from clinlm.metrics.bootstrap import Interval, draw, unpaired_differences
from clinlm.metrics.entity_evaluation import EntityEvaluation
from clinlm.metrics.latency import Latency
from clinlm.report import entities
from clinlm.report.results import ModelResult, read_results
from clinlm.report.tables import change
from clinlm.text.tags import Tags
from clinlm.text.words import words

TAGS = Tags.of(("DISEASE", "MEDICATION"))


def judged(documents: int, seed: int = 0) -> EntityEvaluation:
    """Random answers for documents of eight words."""
    rng = np.random.default_rng(seed)
    around = words("one two three four five six seven eight")
    truth = [TAGS.decode(rng.integers(0, 5, len(around)), around) for _ in range(documents)]
    return EntityEvaluation(TAGS, [around] * documents, truth, rng.random((documents * len(around), 5)))


def repeated(one: EntityEvaluation, weights: np.ndarray) -> EntityEvaluation:
    """Every document as often as its weight says."""
    chosen = np.repeat(np.arange(one.documents), weights.astype(int))
    parts = np.split(one.probabilities, one.word_start[1:-1])
    around, truth = [one.words[n] for n in chosen], [one.truth[n] for n in chosen]
    return EntityEvaluation(TAGS, around, truth, np.concatenate([parts[n] for n in chosen]))


def test_intervals_of_labels_are_those_of_documents_repeated() -> None:
    one, groups = judged(9), np.array(list("aabbcdefg"))
    table = one.label_intervals(30, 5, groups)
    drawn = [repeated(one, weights).per_label() for weights in draw(9, 30, 5, groups)]
    assert table.select(one.per_label().columns).equals(one.per_label())
    for row, label in enumerate(TAGS.labels):
        for name in ("precision", "recall", "f1", "relaxed_precision", "relaxed_recall", "relaxed_f1"):
            low, high = np.percentile([each[name][row] for each in drawn], (2.5, 97.5))
            assert table[f"{name}_low"][row] == pytest.approx(low), (label, name)
            assert table[f"{name}_high"][row] == pytest.approx(high), (label, name)


def test_corpora_are_drawn_apart() -> None:
    a, b = judged(7), judged(12, seed=1)
    found = unpaired_differences(a.entity_metrics, b.entity_metrics, (7, 12), 40, 3)["micro_f1"]
    assert found.value == pytest.approx(b.quality()["micro_f1"] - a.quality()["micro_f1"])
    each = [
        [repeated(one, weights).quality()["micro_f1"] for weights in draw(one.documents, 40, seed)]
        for one, seed in ((a, 3), (b, 4))
    ]
    low, high = np.percentile(np.subtract(each[1], each[0]), (2.5, 97.5))
    assert (found.low, found.high) == pytest.approx((low, high))


def row(name: str, one: EntityEvaluation, **fields: Any) -> ModelResult:
    ends = {metric: Interval(value, value - 0.01, value + 0.01) for metric, value in one.quality().items()}
    labels = tuple(one.label_intervals(20).to_dicts())
    return replace(result(name), quality=one.quality(), intervals=ends, per_label=labels, **fields)


def rows() -> list[ModelResult]:
    a, b = judged(8), judged(8, seed=2)
    change = Interval(-0.02, -0.03, -0.01, 0.01)
    time = Latency(1.0, 2.0, 3.0, 1.5, 4, 1.0, math.nan, 1.0)
    deployment = {"of": "student", "folder": "/store/x"}
    return [
        row("teacher", a, latency=time),
        row("student @x", b, differences={"micro_f1": change}, deployment=deployment, latency=None),
    ]


def test_results_come_back_from_the_file(tmp_path: Path) -> None:
    made = rows()
    entities.write_entities(made, ["a notice"], tmp_path, "entities", "Entities on test")
    again, notices = read_results(tmp_path / "entities.json")
    assert notices == ["a notice"] and again[1] == made[1]
    assert again[0].latency is not None and math.isnan(again[0].latency.speedup_low)
    for own in made:
        table = {row["label"]: row for row in own.per_label}
        for label, found in own.label_estimates("relaxed_f1").items():
            assert (found.value, found.low) == (table[label]["relaxed_f1"], table[label]["relaxed_f1_low"])


def test_the_report_has_every_row_and_label_with_intervals(tmp_path: Path) -> None:
    made = rows()
    entities.write_entities(made, ["12 spans dropped"], tmp_path, "entities", "Entities on test")
    text = (tmp_path / "entities.md").read_text()
    table = [line.split(" | ") for line in text.splitlines() if line.startswith("|")]
    assert len({len(line) for line in table}) == 1 and len(table) == 4
    assert "DISEASE F1 %" in text and "MEDICATION relaxed %" in text and "12 spans dropped" in text
    assert "-2.00* (-3.0…-1.0)" in text and "against own test" not in text
    assert {path.name for path in tmp_path.iterdir()} == {f"entities.{end}" for end in ("md", "json", "svg", "png")}
    assert entities.entity_line(made[1]).startswith("student @x: strict F1")
    json.loads((tmp_path / "entities.json").read_text(), parse_constant=pytest.fail)


def test_labels_and_names_are_drawn_as_they_are(tmp_path: Path) -> None:
    """In a plot a `$` begins a formula, which may not be one: it must not."""
    odd = ("$x_1^$ & $", r"a\b $\frac", "<script>_^{")
    made = [replace(each, per_label=each.per_label[:1]) for each in (*rows(), *rows()[:1])]
    made = [
        replace(each, name=f"{name} model", per_label=({**each.per_label[0], "label": odd[0]},))
        for each, name in zip(made, odd, strict=True)
    ]
    entities.write_entities(made, [], tmp_path, "entities", odd[0])
    drawn = " ".join(ElementTree.parse(tmp_path / "entities.svg").getroot().itertext())
    assert all(f"{name} model" in drawn for name in odd) and f"{odd[0]} (" in drawn and f"{odd[0]}: F1" in drawn


def test_a_drop_has_its_column() -> None:
    first, last = rows()
    dropped = replace(last, drop=Interval(-0.2, -0.3, -0.1, 0.01))
    assert "against own test" in entities.entity_grid(
        [first, dropped]
    ) and "-20.00* (-30.0…-10.0)" in entities.entity_grid([dropped])


def test_the_same_rows_make_the_same_file(tmp_path: Path) -> None:
    made = rows()
    entities.write_entities(made, [], tmp_path, "entities", "Entities on test")
    before = (tmp_path / "entities.svg").read_bytes()
    entities.write_entities(made, [], tmp_path, "entities", "Entities on test")
    assert (tmp_path / "entities.svg").read_bytes() == before


def test_what_is_undefined_is_a_dash() -> None:
    assert entities.estimate(Interval(math.nan, math.nan, math.nan)) == "– (–)" and change(None) == "–"
