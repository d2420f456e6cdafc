"""Entities are counted as a kept library and a matching solver count them; resamples are documents repeated."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nervaluate import Evaluator
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import average_precision_score, cohen_kappa_score, roc_auc_score

from clinlm.metrics.agreement import word_agreement
from clinlm.metrics.bootstrap import draw
from clinlm.metrics.entities import (
    METRICS,
    counts,
    entities_per_label,
    entity_quality,
    weighted_entity_quality,
    word_ranking,
)
from clinlm.metrics.entities import WORD_METRICS as RANKINGS
from clinlm.terminology.spans import Span, flatten

LABELS = ("DISEASE", "MEDICATION", "SYMPTOM")
Documents = list[list[Span]]

places = st.builds(
    lambda start, length, label: Span(start, start + length, label),
    st.integers(0, 40),
    st.integers(1, 9),
    st.sampled_from(LABELS),
)
documents = st.lists(st.lists(places, max_size=10).map(flatten), min_size=2, max_size=2)


def made(seed: int, number: int = 40) -> tuple[Documents, Documents]:
    """Entities of documents, and what was found: many right, some moved, some lost, some of another label."""
    rng = np.random.default_rng(seed)
    gold, found = [], []
    for _ in range(number):
        starts = np.cumsum(rng.integers(1, 15, size=rng.integers(0, 12)))
        own = flatten(Span(int(s), int(s + rng.integers(1, 9)), LABELS[rng.integers(3)]) for s in starts)
        said = []
        for start, end, label in own:
            move = int(rng.integers(0, 3)) if rng.random() < 0.3 else 0
            other = LABELS[rng.integers(3)] if rng.random() < 0.1 else label
            said += [Span(start + move, end + move, other)] if rng.random() < 0.9 else []
        gold.append(own)
        found.append(flatten(said))
    return gold, found


def test_a_document_by_hand() -> None:
    gold = [[Span(0, 4, "DISEASE"), Span(5, 9, "DISEASE"), Span(12, 15, "SYMPTOM")], []]
    found = [[Span(0, 4, "DISEASE"), Span(4, 6, "DISEASE"), Span(12, 15, "DISEASE")], []]
    strict, relaxed = (counts(gold, found, LABELS, match) for match in ("strict", "relaxed"))
    assert strict.hits.tolist() == [[1, 0, 0], [0, 0, 0]] and relaxed.hits.tolist() == [[2, 0, 0], [0, 0, 0]]
    assert strict.extra[0].tolist() == [2, 0, 0] and strict.missed[0].tolist() == [1, 0, 1]
    assert relaxed.extra[0].tolist() == [1, 0, 0] and relaxed.missed[0].tolist() == [0, 0, 1]
    values = entity_quality(strict, relaxed)
    assert tuple(values) == METRICS and values["subset_accuracy"] == 0.5
    # Of 3 found 1 is right, of 3 true ones 1 is found; DISEASE has 1/3 and 1/2, the others 0.
    assert values["micro_f1"] == pytest.approx(1 / 3) and values["macro_f1"] == pytest.approx(0.4 / 3)
    assert values["macro_precision"] == pytest.approx(1 / 9) and values["macro_recall"] == pytest.approx(1 / 6)
    assert values["weighted_recall"] == pytest.approx((2 * 1 / 2 + 1 * 0) / 3)
    assert values["relaxed_micro_f1"] == pytest.approx(2 / 3) and values["relaxed_macro_f1"] == pytest.approx(0.8 / 3)
    table = entities_per_label(strict, relaxed)
    assert table["label"].to_list() == list(LABELS) and table["support"].to_list() == [2, 0, 1]
    assert table["f1"].to_list() == pytest.approx([0.4, 0, 0]) and table["relaxed_f1"].to_list()[0] == pytest.approx(
        0.8
    )
    assert table["relaxed_precision"][0] == pytest.approx(2 / 3) and table["recall"][0] == pytest.approx(1 / 2)


@settings(max_examples=60)
@given(documents, documents)
def test_relaxed_matches_as_many_as_an_assignment_does(gold: Documents, found: Documents) -> None:
    relaxed = counts(gold, found, LABELS, "relaxed")
    for document, (true, said) in enumerate(zip(gold, found, strict=True)):
        for column, label in enumerate(LABELS):
            ours, theirs = ([one for one in some if one.label == label] for some in (true, said))
            overlap = np.array([[a.start < b.end and b.start < a.end for b in theirs] for a in ours], dtype=float)
            overlap = overlap.reshape(len(ours), len(theirs))
            assert relaxed.hits[document, column] == overlap[linear_sum_assignment(-overlap)].sum()


@settings(max_examples=60)
@given(documents, documents)
def test_counts_obey_their_laws(gold: Documents, found: Documents) -> None:
    strict, relaxed = (counts(gold, found, LABELS, match) for match in ("strict", "relaxed"))
    for each, others in ((gold, "missed"), (found, "extra")):
        support = [[sum(one.label == label for one in own) for label in LABELS] for own in each]
        assert (strict.hits + getattr(strict, others)).tolist() == support
        assert (relaxed.hits + getattr(relaxed, others)).tolist() == support
    assert np.all(strict.hits <= relaxed.hits)
    turned = counts(found, gold, LABELS, "relaxed")
    assert np.array_equal(turned.hits, relaxed.hits) and np.array_equal(turned.extra, relaxed.missed)
    assert strict.right.tolist() == [a == b for a, b in zip(gold, found, strict=True)]
    assert (
        entity_quality(*(counts(gold, gold, LABELS, match) for match in ("strict", "relaxed")))["subset_accuracy"] == 1
    )


def library(gold: Documents, found: Documents) -> Evaluator:
    # Its ends are inclusive: with exclusive ones entities side by side would overlap.
    told = [
        [[{"label": a.label, "start": a.start, "end": a.end - 1} for a in own] for own in each]
        for each in (gold, found)
    ]
    return Evaluator(told[0], told[1], tags=list(LABELS), loader="dict")


@pytest.mark.parametrize("seed", range(3))
def test_strict_is_what_nervaluate_counts(seed: int) -> None:
    gold, found = made(seed)
    strict, relaxed = (counts(gold, found, LABELS, match) for match in ("strict", "relaxed"))
    results, values = library(gold, found).evaluate(), entity_quality(strict, relaxed)
    whole, table = results["overall"]["strict"], entities_per_label(strict, relaxed)
    assert whole.correct == strict.hits.sum() and whole.incorrect + whole.spurious == strict.extra.sum()
    assert whole.incorrect + whole.missed == strict.missed.sum()
    assert (values["micro_precision"], values["micro_recall"], values["micro_f1"]) == pytest.approx(
        (whole.precision, whole.recall, whole.f1)
    )
    for row in table.iter_rows(named=True):
        own = results["entities"][row["label"]]
        assert (row["precision"], row["recall"], row["f1"]) == pytest.approx(
            (own["strict"].precision, own["strict"].recall, own["strict"].f1)
        )
        # The same entities side by side: hardly ever does its choice of the closest one cost a match.
        assert -1e-9 <= row["relaxed_f1"] - own["ent_type"].f1 <= 0.02


def test_where_relaxed_and_nervaluate_part() -> None:
    """The first found is closest to the second true one, which is the only one that the second found touches."""
    gold = [[Span(0, 3, "DISEASE"), Span(4, 12, "DISEASE")]]
    found = [[Span(2, 10, "DISEASE"), Span(11, 13, "DISEASE")]]
    assert counts(gold, found, LABELS, "relaxed").hits.sum() == 2
    assert library(gold, found).evaluate()["entities"]["DISEASE"]["ent_type"].correct == 1


def test_resamples_are_documents_repeated() -> None:
    gold, found = made(5)
    weights = draw(len(gold), 12, 1, np.arange(len(gold)) // 3)
    tables = [counts(gold, found, LABELS, match) for match in ("strict", "relaxed")]
    fast = weighted_entity_quality(tables[0], tables[1], weights)
    for number, row in enumerate(weights.astype(int)):
        drawn = np.repeat(np.arange(len(gold)), row).tolist()
        repeated = [[each[one] for one in drawn] for each in (gold, found)]
        slow = entity_quality(*(counts(repeated[0], repeated[1], LABELS, match) for match in ("strict", "relaxed")))
        assert {name: values[number] for name, values in fast.items()} == pytest.approx(slow)


def words_of(seed: int, documents: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True tags of words, probabilities of all tags with ties, and where documents begin; one has no word."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, 30, size=documents)
    lengths[3] = 0
    tags = rng.choice(7, size=lengths.sum(), p=[0.7, *[0.05] * 6])
    logits = rng.normal(size=(len(tags), 7)) + 2 * np.eye(7)[tags]
    parts = np.floor(np.exp(logits) / np.exp(logits).sum(1, keepdims=True) * 64) / 64
    return tags, parts, np.append(0, np.cumsum(lengths))


def test_words_are_ranked_as_scikit_learn_ranks_them() -> None:
    tags, probabilities, start = words_of(0)
    weights = np.vstack([np.ones(12), draw(12, 8, 2)])
    fast = word_ranking(tags, probabilities, start, weights)
    assert tuple(fast) == RANKINGS
    for number, row in enumerate(weights.astype(int)):
        words = np.concatenate([np.arange(start[one], start[one + 1]) for one in np.repeat(np.arange(12), row)])
        truth = np.stack([np.isin(tags[words], pair) for pair in ((1, 2), (3, 4), (5, 6))], axis=1)
        ranks = np.stack([probabilities[words][:, pair].sum(1) for pair in ((1, 2), (3, 4), (5, 6))], axis=1)
        for name, score in (("auroc", roc_auc_score), ("auprc", average_precision_score)):
            for average in ("micro", "macro"):
                assert fast[f"{average}_{name}"][number] == pytest.approx(score(truth, ranks, average=average))


def test_agreement_of_words_is_counted_over_documents() -> None:
    a, _, start = words_of(1)
    rng = np.random.default_rng(1)
    b = np.where(rng.random(len(a)) < 0.05, rng.integers(7, size=len(a)), a)
    groups = np.arange(12) // 2
    found = word_agreement(a, b, start, resamples=30, seed=4, groups=groups)
    slow = []
    for row in np.vstack([np.ones(12), draw(12, 30, 4, groups)]).astype(int):
        drawn = np.repeat(np.arange(12), row)
        words = np.concatenate([np.arange(start[one], start[one + 1]) for one in drawn])
        alike = np.mean([np.array_equal(a[start[i] : start[i + 1]], b[start[i] : start[i + 1]]) for i in drawn])
        slow.append(((a == b)[words].mean(), alike, cohen_kappa_score(a[words], b[words])))
    ends = np.percentile(slow[1:], (2.5, 97.5), axis=0).T
    bounds = (0.025 ** (1 / 6), 0.025 ** (1 / 6), 1.0)
    for each, value, (low, high), most in zip(
        (found.cells, found.documents, found.kappa), slow[0], ends, bounds, strict=True
    ):
        assert (each.value, each.low, each.high) == pytest.approx((value, min(low, most), high))
    same = word_agreement(a, a, start, 10)
    assert same.cells.value == same.documents.value == same.kappa.value == 1
    assert same.cells.low == pytest.approx(0.025 ** (1 / 12))
    assert np.isnan(word_agreement(a * 0, a * 0, start, 10).kappa.value)


def test_misfits_are_refused() -> None:
    gold, found = made(0, 4)
    strict, relaxed = (counts(gold, found, LABELS, match) for match in ("strict", "relaxed"))
    tags, probabilities, start = words_of(0)
    with pytest.raises(ValueError, match="4 and 3 lists"):
        counts(gold, found[:3], LABELS, "strict")
    with pytest.raises(ValueError, match="got 'DRUG'"):
        counts([[Span(0, 1, "DRUG")]], [[]], LABELS, "strict")
    with pytest.raises(ValueError, match=r"call flatten\(spans\)"):
        counts([[Span(0, 2, "SYMPTOM"), Span(1, 3, "SYMPTOM")]], [[]], LABELS, "relaxed")
    with pytest.raises(ValueError, match="at least one each"):
        entity_quality(counts([], [], LABELS, "strict"), counts([], [], LABELS, "relaxed"))
    with pytest.raises(ValueError, match="positive sum"):
        weighted_entity_quality(strict, relaxed, np.zeros((2, 4)))
    with pytest.raises(ValueError, match="two tags per label"):
        word_ranking(tags, probabilities[:, :6], start, np.ones((1, 12)))
    with pytest.raises(ValueError, match="softmax first"):
        word_ranking(tags, probabilities * 9, start, np.ones((1, 12)))
    with pytest.raises(ValueError, match="must begin at 0"):
        word_agreement(tags, tags, start + 1, 10)
