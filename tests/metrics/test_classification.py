"""Quality agrees with scikit-learn, and says where it is undefined."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (  # type: ignore[import-untyped]
    accuracy_score,
    average_precision_score,
    precision_recall_fscore_support,
    roc_auc_score,
)

from clinlm.metrics.classification import METRICS, ONE_VS_ONE, Targets, per_label, quality, weighted_quality
from clinlm.metrics.decisions import Probabilities, Thresholds


def sample(seed: int, documents: int = 60, labels: int = 4, digits: int = 1) -> tuple[Targets, Probabilities]:
    """Targets with both classes in every label, and scores that tie often."""
    random = np.random.default_rng(seed)
    targets = random.random((documents, labels)) < 0.3
    targets[0], targets[1] = True, False
    return targets, np.round(np.clip(0.3 * targets + 0.8 * random.random(targets.shape), 0, 1), digits)


def halves(labels: int) -> Thresholds:
    return np.full(labels, 0.5)


@pytest.mark.parametrize("seed", range(4))
def test_equals_scikit_learn(seed: int) -> None:
    targets, probabilities = sample(seed)
    thresholds = np.array([0.2, 0.5, 0.7, 0.4])
    decided = probabilities >= thresholds
    expected = {"accuracy": (decided == targets).mean(), "subset_accuracy": accuracy_score(targets, decided)}
    for average in ("micro", "macro", "weighted"):
        three = precision_recall_fscore_support(targets, decided, average=average, zero_division=0)
        expected |= {
            f"{average}_{name}": value for name, value in zip(("precision", "recall", "f1"), three[:3], strict=True)
        }
    for average in ("micro", "macro"):
        expected[f"{average}_auroc"] = roc_auc_score(targets, probabilities, average=average)
        expected[f"{average}_auprc"] = average_precision_score(targets, probabilities, average=average)
    found = quality(targets, probabilities, thresholds)
    assert tuple(found) == METRICS
    assert found == pytest.approx(expected, abs=1e-6)


def test_integers_and_narrow_floats_are_the_same() -> None:
    targets, probabilities = sample(0, digits=9)
    wide = quality(targets, probabilities, halves(4))
    assert quality(targets.astype(np.int8), probabilities.astype(np.float32), halves(4)) == pytest.approx(wide)


def test_undefined_labels_are_left_out_of_ranking_means() -> None:
    targets, probabilities = sample(1)
    targets[:, 1], targets[:, 3] = False, True
    found = quality(targets, probabilities, halves(4))
    kept = quality(targets[:, [0, 2]], probabilities[:, [0, 2]], halves(2))
    assert found["macro_auroc"] == pytest.approx(kept["macro_auroc"])
    assert found["macro_auprc"] == pytest.approx(kept["macro_auprc"])
    table = per_label(targets, probabilities, halves(4), list("abcd"))
    assert table["auroc"].is_null().to_list() == table["auprc"].is_null().to_list() == [False, True, False, True]


def test_nothing_to_rank_gives_nan() -> None:
    found = quality(np.zeros((5, 2), int), np.full((5, 2), 0.2), halves(2))
    assert found["accuracy"] == 1 and found["micro_f1"] == 0
    assert all(np.isnan(found[f"{average}_{name}"]) for average in ("micro", "macro") for name in ("auroc", "auprc"))


def test_one_label() -> None:
    targets, probabilities = sample(2, labels=1)
    found = quality(targets, probabilities, halves(1))
    assert found["micro_f1"] == pytest.approx(found["macro_f1"])
    assert per_label(targets, probabilities, halves(1), ["only"])["f1"][0] == pytest.approx(found["macro_f1"])


def test_per_label_agrees_with_the_means() -> None:
    targets, probabilities = sample(3)
    found, table = (
        quality(targets, probabilities, halves(4)),
        per_label(targets, probabilities, halves(4), list("abcd")),
    )
    for name in ("precision", "recall", "f1", "auroc", "auprc"):
        assert table[name].mean() == pytest.approx(found[f"macro_{name}"], abs=1e-6)
    assert table["support"].to_list() == targets.sum(axis=0).tolist()


def test_the_threshold_itself_counts_as_predicted() -> None:
    assert quality(np.array([[1, 0]]), np.array([[0.5, 0.49]]), halves(2))["accuracy"] == 1


@pytest.mark.parametrize(
    ("targets", "probabilities", "thresholds", "law"),
    [
        (np.zeros((0, 2), int), np.zeros((0, 2)), halves(2), "neither side 0"),
        (np.full((2, 2), 2), np.zeros((2, 2)), halves(2), "targets must be 0 or 1"),
        (np.zeros((2, 2), int), np.full((2, 2), 3.0), halves(2), "sigmoid"),
        (np.zeros((2, 2), int), np.full((2, 2), np.nan), halves(2), "NaN"),
        (np.zeros((2, 2), int), np.zeros((2, 2)), np.full(2, np.nan), "fit_thresholds"),
    ],
)
def test_bad_values_are_refused(
    targets: Targets, probabilities: Probabilities, thresholds: Thresholds, law: str
) -> None:
    with pytest.raises(ValueError, match=law):
        quality(targets, probabilities, thresholds)


def test_bad_shapes_are_refused() -> None:
    # A TypeError where the suite checks array types at run time.
    for probabilities, thresholds in ((np.zeros((3, 2)), halves(2)), (np.zeros((2, 2)), halves(3))):
        with pytest.raises((ValueError, TypeError)):
            quality(np.zeros((2, 2), int), probabilities, thresholds)
    with pytest.raises(ValueError, match="must be one a label, got"):
        per_label(np.zeros((2, 2), int), np.zeros((2, 2)), halves(2), ["one"])


@given(st.integers(0, 1000))
def test_without_thresholds_the_most_probable_label_is_predicted(seed: int) -> None:
    """Checked against scikit-learn on class numbers."""
    rng = np.random.default_rng(seed)
    classes, probabilities = rng.integers(4, size=30), rng.dirichlet(np.ones(4), size=30)
    targets = np.eye(4, dtype=int)[classes]
    found = quality(targets, probabilities, None)
    answers = probabilities.argmax(1)
    assert found["accuracy"] == found["subset_accuracy"] == pytest.approx(accuracy_score(classes, answers))
    assert found["micro_f1"] == pytest.approx(found["accuracy"])
    expected = precision_recall_fscore_support(classes, answers, labels=range(4), average=None, zero_division=0)
    for name, values in zip(("precision", "recall", "f1"), expected, strict=False):
        assert found[f"macro_{name}"] == pytest.approx(values.mean())
        assert per_label(targets, probabilities, None, list("abcd"))[name].to_list() == pytest.approx(values)
    weights = rng.integers(1, 3, size=30)
    repeated = quality(np.repeat(targets, weights, 0), np.repeat(probabilities, weights, 0), None)
    weighted = weighted_quality(targets, probabilities, None, weights[None].astype(float))
    assert {name: value[0] for name, value in weighted.items()} == pytest.approx(repeated, nan_ok=True)


def test_of_equally_probable_labels_the_first_is_predicted() -> None:
    found = per_label(np.array([[1, 0], [0, 1]]), np.full((2, 2), 0.5), None, ["first", "second"])
    assert found["recall"].to_list() == [1.0, 0.0] and found["threshold"].to_list() == [None, None]
    assert found["accuracy"].to_list() == [0.5, 0.5]


@pytest.mark.parametrize("seed", range(4))
def test_one_vs_one_equals_scikit_learn_beside_one_vs_rest(seed: int) -> None:
    rng = np.random.default_rng(seed)
    classes = np.concatenate([np.arange(4), rng.choice(4, 56, p=[0.6, 0.2, 0.15, 0.05])])
    probabilities = np.round(0.15 * np.eye(4)[classes] + 0.85 * rng.dirichlet(np.ones(4), 60), 1) + 0.1
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    found = quality(np.eye(4, dtype=int)[classes], probabilities, None)
    assert tuple(found) == (*METRICS, ONE_VS_ONE)
    for name, way in ((ONE_VS_ONE, "ovo"), ("macro_auroc", "ovr")):
        expected = roc_auc_score(classes, probabilities, multi_class=way, average="macro")
        assert found[name] == pytest.approx(expected, abs=1e-6)
    assert found[ONE_VS_ONE] != pytest.approx(found["macro_auroc"], abs=1e-4)


def test_one_vs_one_by_hand() -> None:
    """Three labels, five documents; the third and the fourth tie for the second label."""
    targets = np.eye(3, dtype=int)[[0, 0, 1, 2, 2]]
    scores = np.array([[0.9, 0.2, 0.1], [0.5, 0.6, 0.1], [0.4, 0.3, 0.3], [0.7, 0.3, 0.4], [0.3, 0.1, 0.5]])
    pairs = [1, 3 / 4, 1 / 2, 3 / 4, 1, 1]
    assert quality(targets, scores, None)[ONE_VS_ONE] == pytest.approx(np.mean(pairs))


def test_of_two_labels_one_vs_one_is_the_plain_auroc() -> None:
    rng = np.random.default_rng(5)
    sick = rng.random(50) < 0.3
    scores = np.round(0.3 * sick + 0.7 * rng.random(50), 1)
    found = quality(np.stack([~sick, sick], 1), np.stack([1 - scores, scores], 1), None)
    assert found[ONE_VS_ONE] == pytest.approx(roc_auc_score(sick, scores), abs=1e-6)
    assert found[ONE_VS_ONE] == pytest.approx(found["macro_auroc"], abs=1e-6)


def test_one_vs_one_leaves_out_labels_without_documents_and_is_absent_where_labels_are_independent() -> None:
    rng = np.random.default_rng(6)
    targets, probabilities = np.eye(3, dtype=int)[rng.integers(3, size=40)], rng.dirichlet(np.ones(4), 40)
    none = np.zeros((40, 1), int)
    expected = quality(targets, probabilities[:, :3], None)[ONE_VS_ONE]
    assert quality(np.hstack([targets, none]), probabilities, None)[ONE_VS_ONE] == pytest.approx(expected)
    assert np.isnan(quality(np.eye(3, dtype=int)[[1, 1]], probabilities[:2, :3], None)[ONE_VS_ONE])
    assert ONE_VS_ONE not in quality(targets, probabilities[:, :3], halves(3))
