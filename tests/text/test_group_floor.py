"""Laws of the groups that a term needs: counted as by hand."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinlm.config.errors import ConfigError
from clinlm.tasks.multilabel import MultiLabel
from clinlm.text.group_floor import GroupFloor, LearntTerms


@given(
    groups=st.lists(st.sampled_from(["p1", "p2", "p3", "é"]), min_size=1, max_size=12),
    pairs=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 6)), max_size=60),
)
def test_groups_are_counted_once_each(groups: list[str], pairs: list[tuple[int, int]]) -> None:
    inside = [(text, term) for text, term in pairs if text < len(groups)]
    having = defaultdict[int, set[str]](set)
    for text, term in inside:
        having[term].add(groups[text])
    texts, terms = (np.array([pair[place] for pair in inside], dtype=np.int64) for place in (0, 1))
    assert GroupFloor.of(groups, 2).count(texts, terms, 7).tolist() == [len(having[term]) for term in range(7)]


def test_a_task_has_the_groups_of_its_training_texts(task: MultiLabel) -> None:
    patients = task.examples.frame["group"].gather(task.examples.members("train")).to_list()
    same = np.equal.outer(task.floor.groups, task.floor.groups)
    assert same.tolist() == [[one == other for other in patients] for one in patients]
    assert task.floor.least == task.min_groups == 5


def test_no_group_at_all_is_refused(notes_csv: object) -> None:
    with pytest.raises(ConfigError, match="task.min_groups must be >= 1, got 0"):
        MultiLabel(lambda root: None, None, None, min_groups=0)  # type: ignore[arg-type, return-value]


def test_a_card_says_what_was_left_out() -> None:
    assert "1,234 terms" in (said := str(LearntTerms(1234, 56, 5))) and "56 of fewer" in said and "min_groups=5" in said
    assert "those of single patients among them" in str(LearntTerms(1234, 0, 1))
