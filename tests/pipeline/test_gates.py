"""Laws of gates: those in conf/ grow milder in one direction, and a limit is kept by proof, not by luck."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import polars as pl
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from clinlm.config.resolvers import register_resolvers
from clinlm.config.validation import CONF
from clinlm.corpora.table import Table
from clinlm.metrics.bootstrap import Interval
from clinlm.metrics.classification import quality
from clinlm.models import artifact
from clinlm.models.artifact import Artifact
from clinlm.pipeline.degradation import Degradation, measure_degradation
from clinlm.pipeline.gates import TECHNIQUES, Gate, Verdict
from clinlm.store.content import seal
from clinlm.tasks.base import Task
from clinlm.tasks.multiclass import MultiClass
from clinlm.tasks.multilabel import MultiLabel
from clinlm.text.long_notes import Head
from clinlm.training.teachers.tfidf import Tfidf
from clinlm.training.tfidf_int8 import TfidfInt8

LEVELS = ("critical", "high", "medium", "low")
FILES = sorted(path for path in CONF.glob("gate/*.yaml") if path.stem != "none")


def gate(name: str) -> Gate:
    made: Gate = instantiate(OmegaConf.load(CONF / "gate" / f"{name}.yaml"))
    return made


def changed(loss: float = 0.0, low: float | None = None, high: float | None = None, **others: Any) -> Degradation:
    """Degradation in which every metric lost the same."""
    lost = Interval(loss, loss if low is None else low, loss if high is None else high)
    alike = others.pop("agreement", Interval(1.0, 1.0, 1.0))
    gaps, notices = others.pop("gaps", {}), others.pop("notices", ())
    margin = others.pop("margin", Interval(0.1, 0.1, 0.1))
    return Degradation({"macro_auroc": lost, "micro_f1": lost}, alike, gaps, notices, margin)


# Laws over conf/gate.


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_gate_is_named_after_its_file_and_lets_an_unchanged_model_pass(path: Path) -> None:
    made = gate(path.stem)
    assert made.name == path.stem and made.judge == "interval" and made.split == "validation"
    assert made.verdict("x", changed(), made.techniques).passed
    assert made.metrics and made.techniques and made.agreement is not None and made.fairness is not None
    assert made.coverage is not None and made.set_size is not None


def test_a_milder_gate_allows_all_that_a_stricter_one_does() -> None:
    gates = [gate(name) for name in LEVELS]
    assert {path.stem for path in FILES} == set(LEVELS)
    for strict, mild in zip(gates, gates[1:], strict=False):
        assert set(strict.techniques) < set(mild.techniques)
        assert all(limit < mild.metrics[metric] for metric, limit in strict.metrics.items())
        assert strict.agreement > mild.agreement and strict.fairness < mild.fairness  # type: ignore[operator]


def test_the_levels_are_those_of_the_source() -> None:
    assert [max(gate(name).metrics.values()) for name in LEVELS] == [0.005, 0.01, 0.02, 0.05]
    assert gate("critical").techniques == ["quantization_aware_training"]
    assert not gate("critical").verdict("x", changed(), ["post_training_quantization"]).passed
    assert set(gate("high").techniques) == {"quantization_aware_training", "iterative_pruning"}
    assert {"distillation", "quantization_aware_training"} <= set(gate("medium").techniques)
    assert {"distillation", "int4"} <= set(gate("low").techniques)


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_what_is_allowed_instead_can_be_typed(technique: str) -> None:
    register_resolvers()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        assert hydra.compose("config", TECHNIQUES[technique].split()).stages
    assert TECHNIQUES[technique] in Gate("g", {}, techniques=[technique]).alternatives()


def test_every_method_says_which_technique_it_is() -> None:
    found = {}
    for group in ("prune", "factorize", "quantize"):
        for path in (path for path in CONF.glob(f"{group}/*.yaml") if path.stem != "none"):
            method = hydra.utils.get_object(str(OmegaConf.load(path)._target_))
            found[path.stem] = method.technique
    assert set(found.values()) <= set(TECHNIQUES)
    assert found["int4"] == "int4" and found["static"] == found["dynamic"] == "post_training_quantization"
    assert found["qat"] == "quantization_aware_training"


# Judgement.


@pytest.mark.parametrize("judge", ["interval", "point"])
def test_a_loss_at_the_limit_fails(judge: Any) -> None:
    made = Gate("g", {"micro_f1": 0.02}, judge=judge)
    assert not made.verdict("x", changed(0.02), []).passed
    assert made.verdict("x", changed(math.nextafter(0.02, 0)), []).passed


def test_an_interval_that_crosses_the_limit_proves_nothing() -> None:
    doubtful = changed(0.01, low=-0.005, high=0.025)
    by_interval = Gate("g", {"micro_f1": 0.02}).verdict("x", doubtful, [])
    assert not by_interval.passed and Gate("g", {"micro_f1": 0.02}, judge="point").verdict("x", doubtful, []).passed
    (finding,) = by_interval.findings
    assert finding.excess == pytest.approx(0.005)
    assert "loss of micro_f1 1.00 (-0.50 to 2.50), limit 2.00: 0.50 too much" in by_interval.line()


def test_agreement_is_judged_by_its_low_end_and_a_gap_by_its_high_end() -> None:
    made = Gate("g", {}, agreement=0.9, fairness=0.05)
    gap = {"sex": Interval(0.0, -0.1, 0.06)}
    doubtful = changed(agreement=Interval(0.95, 0.89, 0.99), gaps=gap)
    assert [one.quantity for one in made.verdict("x", doubtful, []).findings if not one.passed] == [
        "agreement",
        "gap by sex",
    ]
    assert Gate("g", {}, agreement=0.9, fairness=0.05, judge="point").verdict("x", doubtful, []).passed
    assert made.verdict("x", changed(agreement=Interval(0.95, 0.90, 0.99)), []).passed


def test_what_is_undefined_is_not_proved() -> None:
    verdict = Gate("g", {"macro_auroc": 0.5}).verdict("x", changed(math.nan), [])
    assert not verdict.passed and "undefined" in verdict.line() and "undefined" in verdict.reasons()


@pytest.mark.parametrize("judge", ["interval", "point"])
def test_a_model_below_the_floor_fails_whatever_its_original_has(judge: Any) -> None:
    for margin, passed in ((-0.1, False), (0.0, True), (0.1, True), (math.nan, False)):
        lost = changed(margin=Interval(margin, margin - 0.2, margin + 0.2))
        for floor, name in (("tfidf", "of the better TF-IDF"), (0.5, "50.00")):
            verdict = Gate("g", {"micro_f1": 0.02}, judge=judge, floor=floor).verdict("x", lost, [])
            assert verdict.passed == passed and f"floor (macro_f1 {name})" in verdict.line()
            assert passed or verdict.reasons().startswith(
                f"floor (macro_f1 {name}) {'undef' if margin != margin else '10.00 too little'}"
            )
        assert Gate("g", {}, judge=judge).verdict("x", lost, []).passed, "no floor was set"


def test_a_verdict_names_what_failed_first() -> None:
    made = Gate("g", {"macro_auroc": 0.5, "micro_f1": 0.01}, techniques=["int4"])
    verdict: Verdict = made.verdict("x", changed(0.1), ["int4", "post_training_quantization"])
    assert [one.quantity for one in verdict.findings] == ["loss of micro_f1", "loss of macro_auroc"]
    assert verdict.refused == ("post_training_quantization",)
    assert verdict.reasons() == "post-training quantization not allowed; loss of micro_f1 9.00 too much"
    assert verdict.line().startswith("gate g, x: FAILED: not allowed: post-training quantization; loss of micro_f1")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"metrics": {"micro_f1": 2}}, "shares in"),
        ({"metrics": {"f1": 0.1}}, "gate.metrics must be one of accuracy"),
        ({"agreement": -0.1}, "shares in"),
        ({"techniques": ["magic"]}, "gate.techniques must be one of"),
        ({"floor": "tf-idf"}, "gate.floor must be a share in .*, tfidf, or null"),
        ({"floor": 45}, "shares in"),
        ({"floor_metric": "f1"}, "gate.floor_metric must be one of accuracy"),
        ({"coverage": 90}, "shares in"),
        ({"set_size": -0.1}, "gate.set_size must be >= 0"),
        ({"judge": "luck"}, "gate.judge must be one of interval, point; got luck"),
        ({"resamples": 0}, "at least 1"),
    ],
)
def test_wrong_settings_are_refused(settings: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Gate(**{"name": "g", "metrics": {}} | settings)


# Measurement, on planted predictions.


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """400 notes of 200 patients; every second patient has another sex, and exactly one of two labels."""
    folder = tmp_path_factory.mktemp("planted")
    rows = [(f"n{n}", f"p{n // 2}", f"note {n}", "ab"[n % 3 == 0], "fm"[n // 2 % 2]) for n in range(400)]
    pl.DataFrame(rows, schema=["id", "group", "text", "labels", "sex"], orient="row").write_csv(folder / "notes.csv")
    corpus = partial(Table, text="text", labels="labels", id="id", group="group", attributes=["sex"], delimiter=";")
    task = MultiClass(corpus, str(folder / "notes.csv"), Head(), shares=(0.2, 0.4, 0.4))
    task.open(folder / "store", "key")
    return task


def saying(task: Task, folder: Path, wrong: Sequence[Sequence[int]]) -> Artifact:
    """An artifact that says the truth of all documents but `wrong`, of validation and of test."""
    folder.mkdir(parents=True)
    logits = {}
    for split, some in zip(("validation", "test"), wrong, strict=True):
        said = task.examples.targets[task.examples.members(split)].copy()
        said[list(some)] = ~said[list(some)]
        logits[split] = (6.0 * said - 3.0).astype(np.float32)
    artifact.save_predictions(folder, logits)
    task.inference_config(logits["validation"], 64).save(folder)
    seal(folder, {"key": folder.name, "stage": folder.name})
    return Artifact(folder)


def test_losses_agreement_and_gaps_are_those_of_the_predictions(planted: Task, tmp_path: Path) -> None:
    members = planted.examples.members("test")
    sex = planted.examples.frame["attributes"].struct.field("sex").gather(members).to_list()
    men = [place for place, one in enumerate(sex) if one == "m"]
    original = saying(planted, tmp_path / "original", ([], men[:4]))
    worse = saying(planted, tmp_path / "worse", ([], men[2:12]))
    found = measure_degradation(planted, original, worse, "test", resamples=200)
    a, b = (
        quality(planted.examples.targets[members], planted.probabilities(one.predictions("test")), None)
        for one in (original, worse)
    )
    for name in ("micro_f1", "macro_auroc", "accuracy"):
        assert found.losses[name].value == pytest.approx(a[name] - b[name], abs=1e-6)
        assert found.losses[name].low <= found.losses[name].value <= found.losses[name].high
    assert found.losses["micro_f1"].value == pytest.approx(6 / len(members), abs=1e-6), "four were wrong, now ten"
    assert found.agreement.value == pytest.approx(1 - 10 / len(members)), "two stayed wrong: two and eight changed"
    assert found.gaps["sex"].value == pytest.approx(6 / len(men), abs=1e-6), "the women are right in both"
    assert not found.notices


def test_the_floor_is_tfidf_on_the_same_documents_or_a_number(planted: Task, tmp_path: Path) -> None:
    """TF-IDF knows the labels of these notes no better than their frequencies; a model that knows them all is above."""
    right = saying(planted, tmp_path / "right", ([], []))
    units = {split: range(len(planted.examples.members(split))) for split in ("validation", "test")}
    wrong = saying(planted, tmp_path / "wrong", (units["validation"], units["test"]))
    tfidf, half = (Gate("g", {}, floor=floor, resamples=20) for floor in ("tfidf", 0.5))
    for made in (tfidf, half):
        for model, passed in ((right, True), (wrong, False)):
            verdict = made.floor_verdict("x", planted, model)
            assert verdict is not None and verdict.passed == passed
            assert made.verdict("x", made.measure(planted, right, model, "test"), []).passed == passed
    margin = half.measure(planted, right, wrong, "test").margin
    assert margin is not None and margin.value == -0.5, "every answer is wrong"
    assert Gate("g", {}).floor_verdict("x", planted, right) is None
    verdict = tfidf.floor_verdict("x", planted, right)
    targets = planted.examples.targets[planted.examples.members("validation")]
    logits = [member.split_logits(planted, "validation") for member in (Tfidf.of(planted), TfidfInt8.of(planted))]
    theirs = max(quality(targets, planted.probabilities(own), None)["macro_f1"] for own in logits)
    assert verdict is not None and verdict.findings[0].change.value == pytest.approx(1 - theirs, abs=1e-6)


@pytest.mark.parametrize("better", [Tfidf, TfidfInt8])
def test_the_floor_is_the_better_row_of_tfidf(
    planted: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, better: type
) -> None:
    def perfect(member: object, task: Task, split: str) -> Any:
        return 9.0 * task.examples.targets[task.examples.units(split)]

    monkeypatch.setattr(better, "split_logits", perfect)
    model = saying(planted, tmp_path / "model", ([0], []))
    verdict = Gate("g", {}, floor="tfidf", resamples=20).floor_verdict("x", planted, model)
    assert verdict is not None and not verdict.passed and verdict.findings[0].change.value < 0


def test_few_documents_prove_little(planted: Task, tmp_path: Path) -> None:
    original, same = (saying(planted, tmp_path / name, ([], [])) for name in ("original", "same"))
    strict = gate("critical")
    assert not strict.verdict("x", strict.measure(planted, original, same), ["quantization_aware_training"]).passed
    assert Gate("g", strict.metrics).verdict("x", strict.measure(planted, original, same), []).passed


def test_the_split_of_the_gate_judges(planted: Task, tmp_path: Path) -> None:
    original = saying(planted, tmp_path / "original", ([], []))
    only_test = saying(planted, tmp_path / "only_test", ([], range(40)))
    limits = Gate("g", {"micro_f1": 0.1}, resamples=50)
    assert limits.verdict("x", limits.measure(planted, original, only_test), []).passed
    assert not limits.verdict("x", limits.measure(planted, original, only_test, "test"), []).passed


def test_a_corpus_without_attributes_is_told(task: MultiLabel, tmp_path: Path) -> None:
    original, same = (saying(task, tmp_path / name, ([], [])) for name in ("original", "same"))
    made = Gate("g", {}, fairness=0.0, resamples=20)
    verdict = made.verdict("x", made.measure(task, original, same), [])
    assert verdict.passed and "fairness not measured: the corpus has no attributes" in verdict.line()


def test_small_subgroups_are_told(planted: Task, tmp_path: Path) -> None:
    original, same = (saying(planted, tmp_path / name, ([], [])) for name in ("original", "same"))
    found = measure_degradation(planted, original, same, "test", resamples=20, smallest_subgroup=1000)
    assert not found.gaps and found.notices == (
        "fairness by sex not measured: fewer than two subgroups of 1000 documents",
    )


# Prediction sets.


def test_the_least_coverage_is_judged_and_the_growth_of_sets() -> None:
    ends = {"true labels": Interval(0.0, -0.03, 0.03), "notes without it": Interval(0.02, -0.01, 0.06)}
    lost = replace(changed(), shortfalls=ends, growth=Interval(0.1, 0.05, 0.15))
    for limits, passed in (((0.07, 0.2), True), ((0.05, 0.2), False), ((0.07, 0.12), False), ((None, None), True)):
        made = Gate("g", {}, coverage=limits[0], set_size=limits[1])
        assert made.verdict("x", lost, []).passed == passed
    by_point = Gate("g", {}, coverage=0.05, set_size=0.12, judge="point")
    assert by_point.verdict("x", lost, []).passed
    line = Gate("g", {}, coverage=0.05).verdict("x", lost, []).line()
    assert "coverage of notes without it, short by 2.00 (-1.00 to 6.00), limit 5.00: 1.00 too much" in line
    undefined = replace(lost, shortfalls={**ends, "notes with a label": Interval(math.nan, math.nan, math.nan)})
    assert not Gate("g", {}, coverage=0.5).verdict("x", undefined, []).passed


def test_sets_of_a_worse_model_grow_and_still_cover(planted: Task, tmp_path: Path) -> None:
    """Coverage is measured on documents that did not calibrate: a model that is wrong on some covers no less."""
    count = len(planted.examples.members("validation"))
    original = saying(planted, tmp_path / "original", ([], []))
    worse = saying(planted, tmp_path / "worse", (range(0, count, 4), range(0, count, 4)))
    for split in ("validation", "test"):
        found = measure_degradation(planted, original, worse, split, resamples=50, sets=True)
        assert found.growth is not None and found.growth.value == pytest.approx(1.0), "both labels, instead of one"
        assert max(own.value for own in found.shortfalls.values()) <= 0
        same = measure_degradation(planted, original, original, split, resamples=50, sets=True)
        assert same.growth is not None and same.growth.value == same.growth.high == 0
    plain = measure_degradation(planted, original, worse, "test", resamples=50)
    assert plain.growth is None and not plain.shortfalls


def test_old_thresholds_of_other_documents_fall_short(planted: Task, tmp_path: Path) -> None:
    """The thresholds are those in the folder: fitted on a model that is right, and kept for one that is wrong."""
    original = saying(planted, tmp_path / "original", ([], []))
    members = planted.examples.members("test")
    broken = saying(planted, tmp_path / "broken", ([], range(0, len(members), 2)))
    found = measure_degradation(planted, original, broken, "test", resamples=50, sets=True)
    assert found.shortfalls["true labels"].low > 0.2
    assert not Gate("g", {}, coverage=0.1).verdict("x", found, []).passed
