"""Laws of the invented complaints."""

import random
from collections import Counter

import pytest

from clinlm.corpora.base import COLUMNS, GENERATED
from clinlm.corpora.synthetic.complaints import FRAMES, SYMPTOMS, Complaints, statements
from clinlm.terminology.mentions import Finder

FINDER = Finder({name: symptom.words for name, symptom in SYMPTOMS.items()})


def test_records_have_the_shape_of_a_corpus() -> None:
    frame = Complaints(patients=30).records().frame
    assert frame.columns == list(COLUMNS)
    assert Complaints(patients=2).records().notices == (GENERATED,)
    assert frame["id"].is_unique().all() and frame["group"].n_unique() == 30
    assert frame["text"].str.contains(r"\S").all()
    assert frame["labels"].list.len().sum() == 0


def test_the_same_seed_gives_the_same_notes_and_more_patients_only_add() -> None:
    few, more = Complaints(patients=20).records().frame, Complaints(patients=30).records().frame
    assert few.equals(Complaints(patients=20).records().frame)
    assert more.head(few.height).equals(few)
    assert not few.equals(Complaints(patients=20, seed=1).records().frame)


def test_the_fingerprint_follows_the_settings() -> None:
    made = [Complaints(), Complaints(patients=3), Complaints(seed=1), Complaints(root="elsewhere")]
    prints = [one.fingerprint() for one in made]
    assert len(set(prints)) == 3 and prints[0] == prints[3]


def test_a_sentence_mentions_its_symptom_and_no_other() -> None:
    rng = random.Random(1)
    said = [one for _ in range(300) for one in statements(rng)]
    for one in said:
        assert [mention.symptom for mention in FINDER.find(one.text)] == [one.symptom]
    assert {one.status for one in said} == set(FRAMES)


def test_the_context_tells_the_symptom_mostly() -> None:
    rng = random.Random(2)
    said = [one for _ in range(300) for one in statements(rng)]
    own = Counter(one.text.partition("; ")[2] in SYMPTOMS[one.symptom].context for one in said)
    assert 0.75 < own[True] / len(said) < 0.9
    assert len({one.text for one in said}) > 0.9 * len(said)


def test_a_corpus_needs_patients() -> None:
    with pytest.raises(ValueError, match="patients must be >= 1, got 0"):
        Complaints(patients=0)
