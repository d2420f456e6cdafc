"""Stress by hand: losses, how much more the compressed model loses, and what is of the changed notes alone."""

import numpy as np
import pytest

from clinlm.metrics.bootstrap import resample
from clinlm.metrics.classification import quality
from clinlm.metrics.evaluation import LabelEvaluation
from clinlm.metrics.stress import measure_stress

RNG = np.random.default_rng(0)
TARGETS = RNG.random((200, 3)) < 0.4
HALF = np.full(3, 0.5)


def evaluation(wrong: float) -> LabelEvaluation:
    """Decisions that are wrong for this share of the cells."""
    flipped = TARGETS ^ (np.random.default_rng(int(wrong * 100)).random(TARGETS.shape) < wrong)
    return LabelEvaluation(TARGETS, np.where(flipped, 0.9, 0.1), HALF, ("a", "b", "c"), "multilabel")


BEFORE = {"original": evaluation(0.05), "compressed": evaluation(0.1)}
AFTER = {"original": evaluation(0.15), "compressed": evaluation(0.4)}
TOUCHED = np.arange(200) % 2 == 0


def f1(own: LabelEvaluation) -> float:
    return quality(TARGETS[TOUCHED], own.probabilities[TOUCHED], HALF)["micro_f1"]


def test_losses_are_of_the_changed_notes_and_paired() -> None:
    found = measure_stress(BEFORE, AFTER, TOUCHED, resample(200, 300), "micro_f1", keeps_labels=True)
    losses = {model: f1(BEFORE[model]) - f1(AFTER[model]) for model in BEFORE}
    assert found.documents == 100 and {m: own.value for m, own in found.loss.items()} == pytest.approx(losses)
    assert found.more is not None and found.more.value == pytest.approx(losses["compressed"] - losses["original"])
    assert found.more.significant and found.more.low < found.more.value < found.more.high
    assert found.quality["compressed"].value == pytest.approx(f1(AFTER["compressed"]))
    changed = {m: (BEFORE[m].decisions != AFTER[m].decisions)[TOUCHED].mean() for m in BEFORE}
    assert {m: own.value for m, own in found.changed.items()} == pytest.approx(changed)
    assert found.changed_more.value == pytest.approx(changed["compressed"] - changed["original"])


def test_where_labels_change_only_decisions_are_compared() -> None:
    found = measure_stress(BEFORE, AFTER, TOUCHED, resample(200, 50), "micro_f1", keeps_labels=False)
    assert found.more is None and not found.loss and not found.quality and found.changed["original"].value > 0


def test_resamples_without_a_changed_note_are_left_out() -> None:
    one = np.arange(200) == 7
    found = measure_stress(BEFORE, BEFORE, one, resample(200, 200), "micro_f1", keeps_labels=True)
    assert found.documents == 1 and found.more is not None and found.more.value == 0
    assert found.changed["original"].high == 0
