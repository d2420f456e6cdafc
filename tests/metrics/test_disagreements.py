"""Planted patterns of disagreement are found, chance is not, and nothing that could identify anybody is listed."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import false_discovery_control, fisher_exact

from clinlm.metrics.disagreements import Feature, length_bands, listing, mask_features, patterns, value_features

LABELS = ("asthma", "flu", "gout", "fracture", "stroke")


def features(rng: np.random.Generator, documents: int, count: int = 20) -> list[Feature]:
    return [Feature("section", f"s{place}", rng.random(documents) < rng.uniform(0.1, 0.9)) for place in range(count)]


def named(found: Any) -> set[tuple[str, str]]:
    return {(each.feature, each.value) for each in found if each.systematic}


def test_planted_patterns_are_found_and_only_they() -> None:
    rng = np.random.default_rng(0)
    differs = rng.random((400, 5)) < 0.02
    sex, some = rng.choice(["F", "M"], 400), features(rng, 400)
    differs[sex == "F", 1] |= rng.random((sex == "F").sum()) < 0.25
    found = patterns(differs, LABELS, [*some, *value_features("gender", sex)])
    assert named(found) == {("gender", "F"), ("label", "flu")}
    assert [each.adjusted_p for each in found] == sorted(each.adjusted_p for each in found)
    women = next(each for each in found if each.value == "F")
    outcome = differs.any(1)
    assert (women.documents, women.inside) == ((sex == "F").sum(), pytest.approx(outcome[sex == "F"].mean()))
    assert women.ratio == pytest.approx(women.inside / outcome[sex == "M"].mean()) and women.ratio > 1.5


def test_planted_pattern_in_a_section_of_grouped_notes_is_found() -> None:
    rng = np.random.default_rng(1)
    groups = rng.integers(150, size=400)
    some = features(rng, 400)
    differs = rng.random((400, 5)) < np.where(some[3].has, 0.12, 0.02)[:, None]
    assert named(patterns(differs, LABELS, some, groups)) == {("section", "s3")}


def test_p_of_features_is_fishers_and_is_adjusted_over_all() -> None:
    rng = np.random.default_rng(2)
    differs, some = rng.random((60, 1)) < 0.3, features(rng, 60, count=6)
    found = {each.value: each for each in patterns(differs, ("gout",), some)}
    expected = []
    for each in some:
        table = [[int((differs[:, 0] & way).sum()), int((~differs[:, 0] & way).sum())] for way in (each.has, ~each.has)]
        expected.append(fisher_exact(table, alternative="greater").pvalue)
    assert [found[each.value].p for each in some] == pytest.approx(expected)
    adjusted = false_discovery_control(expected)
    assert [found[each.value].adjusted_p for each in some] == pytest.approx(adjusted.tolist())


def test_p_of_labels_is_that_of_labels_shuffled_within_documents() -> None:
    rng = np.random.default_rng(3)
    differs = rng.random((40, 5)) < np.array([0.1, 0.1, 0.1, 0.1, 0.25])
    found = {each.value: each.p for each in patterns(differs, LABELS, [])}
    counts = np.array([rng.permuted(differs, axis=1).sum(0)[0] for _ in range(20_000)])
    for place, name in enumerate(LABELS):
        assert found[name] == pytest.approx((counts >= differs[:, place].sum()).mean(), abs=0.015)


def test_chance_is_rarely_a_pattern() -> None:
    wrong = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        differs = rng.random((150, 5)) < rng.uniform(0.01, 0.2)
        wrong += bool(named(patterns(differs, LABELS, features(rng, 150))))
    assert wrong <= 14  # of 150 at 5 %: 7.5 expected at most, 15 or more by chance once in a hundred times


def test_chance_among_few_patients_is_no_pattern_either() -> None:
    """Patients with many notes, who differ in how often decisions change and share their features."""
    wrong = naive = 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        groups = rng.integers(40, size=400)
        rate = rng.random(40) ** 3 * 0.3
        differs = rng.random((400, 5)) < rate[groups][:, None]
        some = [Feature("language", f"l{n}", (rng.random(40) < 0.4)[groups]) for n in range(20)]
        wrong += bool(named(patterns(differs, LABELS, some, groups, seed=seed)))
        naive += bool(named(patterns(differs, LABELS, some)))
    assert wrong <= 4 and naive >= 15


def test_models_that_decide_alike_have_no_pattern() -> None:
    rng = np.random.default_rng(4)
    found = patterns(np.zeros((50, 5), dtype=bool), LABELS, features(rng, 50))
    assert found and not named(found) and all(each.p == 1 for each in found)


def test_features_of_few_documents_are_not_tested() -> None:
    rng = np.random.default_rng(5)
    differs = rng.random((50, 5)) < 0.1
    few = Feature("ethnicity", "rare", np.arange(50) < 4)
    assert len(patterns(differs, LABELS, [few, *value_features("sex", np.repeat("F", 50))])) == len(LABELS)
    assert len(patterns(differs, LABELS, [few], minimum_documents=4)) == len(LABELS) + 1


def test_listing_tells_ids_and_labels_and_nothing_else() -> None:
    targets = np.array([[1, 0], [0, 0], [1, 1]], dtype=bool)
    a = np.array([[1, 0], [0, 1], [1, 0]], dtype=bool)
    b = np.array([[1, 0], [0, 0], [0, 1]], dtype=bool)
    ids = pl.Series(["n7", "n8", "n9"])
    table = listing(ids, targets, a, b, ("flu", "gout"))
    assert table.columns == ["id", "label", "truth", "original", "compressed"]
    assert table.rows() == [
        ("n8", "gout", False, True, False),
        ("n9", "flu", True, True, False),
        ("n9", "gout", True, False, True),
    ]
    assert listing(ids, targets, a, a, ("flu", "gout")).height == 0


@pytest.mark.parametrize("lengths", ([1, 2, 3, 4, 5, 6, 7, 8], [5] * 8, [1, 1, 1, 1, 1, 1, 9, 9]))
def test_every_document_has_one_length(lengths: list[int]) -> None:
    bands = length_bands(np.array(lengths), "tokens")
    assert (np.sum([each.has for each in bands], axis=0) == 1).all()
    for each in bands:
        inside = np.array(lengths)[each.has]
        numbers = [int(word) for word in each.value.split() if word.isdigit()]
        low = numbers[0] if len(numbers) > 1 else numbers[0] + 1 if each.value.startswith("above") else 0
        assert low <= inside.min() and (each.value.startswith("above") or inside.max() <= numbers[-1])


def test_misfits_are_refused() -> None:
    differs = np.zeros((4, 2), dtype=bool)
    with pytest.raises(ValueError, match="labels"):
        patterns(differs, LABELS, [])
    with pytest.raises(ValueError, match="must have one value per document"):
        patterns(differs, ("a", "b"), mask_features("section", {"plan": np.ones(3, dtype=bool)}))
