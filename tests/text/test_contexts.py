"""Words become texts that the baseline reads, and a baseline fitted on them finds entities."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from support.odd_texts import texts

from clinlm.metrics import baseline
from clinlm.metrics.baseline import TfidfBaseline
from clinlm.metrics.entities import counts
from clinlm.terminology.spans import Span
from clinlm.text.contexts import contexts
from clinlm.text.tags import Tags
from clinlm.text.words import words

DRUGS, FILLERS = ("Naproxen", "ibuprofen", "codeine-7"), ("gave", "the", "patient", "was", "calm", "(", "5", "mg", ".")


def notes(seed: int, number: int) -> list[tuple[str, list[Span]]]:
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(number):
        text, spans = "", []
        for _ in range(15):
            drug = rng.random() < 0.2
            word = str(rng.choice(DRUGS if drug else FILLERS))
            spans += [Span(len(text), len(text) + len(word), "MEDICATION")] if drug else []
            text += word + " "
        found.append((text, spans))
    return found


def test_a_word_is_told_by_itself_and_its_neighbours() -> None:
    text = "Took IL-6 today"
    told = contexts(text, words(text))
    assert len(told) == 5
    assert told[1].split() == [
        *("a_", "b_took", "c_il", "d_u2d", "e_6"),
        *("bs_ul", "cs_u", "ds_o"),
        *("p2_il", "p3_il", "p4_il", "e2_il", "e3_il", "e4_il"),
    ]
    assert told[4].split()[:5] == ["a_u2d", "b_6", "c_today", "d_", "e_"]


@settings(max_examples=40)
@given(texts)
def test_every_word_has_the_same_number_of_terms_and_none_is_parted(text: str) -> None:
    found = words(text)
    told = contexts(text, found)
    assert len(told) == len(found)
    read = re.compile(baseline._vectorizer(None).token_pattern)
    for one in told:
        assert len(one.split()) == len(read.findall(one)) == 14


def test_a_baseline_fitted_on_words_finds_entities() -> None:
    tags = Tags.of(["MEDICATION"])
    sides = []
    for seed, number in ((0, 40), (1, 15), (2, 15)):
        own = notes(seed, number)
        around = [words(text) for text, _ in own]
        targets = np.concatenate([tags.encode(spans, each) for (_, spans), each in zip(own, around, strict=True)])
        told = [one for (text, _), each in zip(own, around, strict=True) for one in contexts(text, each)]
        sides.append((own, around, told, np.eye(3, dtype=bool)[targets]))
    train, validation, test = sides
    model = TfidfBaseline.fit(train[2], train[3], validation[2], validation[3])
    said = np.split(model.logits(test[2]).argmax(axis=1), np.cumsum([len(each) for each in test[1]])[:-1])
    found = [tags.decode(one, each) for one, each in zip(said, test[1], strict=True)]
    strict = counts([spans for _, spans in test[0]], found, tags.labels, "strict")
    assert strict.hits.sum() > 0.9 * (strict.hits + strict.extra + strict.missed).sum()


def test_both_solvers_find_one_optimum(monkeypatch: pytest.MonkeyPatch) -> None:
    tags = Tags.of(["MEDICATION"])
    own = notes(3, 40)
    told = [one for text, _ in own for one in contexts(text, words(text))]
    targets = np.eye(3, dtype=bool)[np.concatenate([tags.encode(spans, words(text)) for text, spans in own])]
    dual = TfidfBaseline.fit_at(told, targets, 10.0)
    monkeypatch.setattr(baseline, "MANY", 1)
    primal = TfidfBaseline.fit_at(told, targets, 10.0)
    assert not np.array_equal(primal.weights, dual.weights)
    assert np.abs(primal.probabilities(told) - dual.probabilities(told)).max() < 0.01
