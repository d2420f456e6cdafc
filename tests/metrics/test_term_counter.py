"""Counts of terms are those of scikit-learn's vectorizer, on any text."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer
from support.odd_texts import texts

from clinlm.metrics.term_counter import TermCounter

READING = {"strip_accents": "unicode", "lowercase": True, "ngram_range": (1, 2)}

words = st.lists(
    st.sampled_from(["Cough", "no", "x", "FEVER", "fièvre", "né", "12", "a1", "_", ",", "\n"]), max_size=12
).map(" ".join)


@given(st.lists(st.one_of(words, texts), max_size=6), st.data())
def test_counts_are_those_of_the_vectorizer(notes: list[str], data: st.DataObject) -> None:
    analyse = CountVectorizer(**READING).build_analyzer()
    every = sorted({term for note in [*notes, "no cough 12 fever"] for term in analyse(note)})
    terms = data.draw(st.lists(st.sampled_from(every), min_size=1, unique=True))
    counts = np.zeros((len(notes), len(terms)), np.int64)
    rows, columns, found = TermCounter(terms)(notes)
    counts[rows, columns] = found
    expected = CountVectorizer(**READING, vocabulary=terms).transform(notes or [""]).toarray()
    np.testing.assert_array_equal(counts, expected[: len(notes)])
    assert (np.lexsort((columns, rows)) == np.arange(len(rows))).all() and (found > 0).all()
