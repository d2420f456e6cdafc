"""Laws of groups of patients and of published lists of them."""

from pathlib import Path

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from clinlm.corpora.mimic.mimic3_outcomes import read_patient_lists, split_of_groups
from clinlm.corpora.split import merge_groups

DOCUMENTS = st.lists(st.tuples(st.integers(1, 9), st.sampled_from("abcdefgh")), max_size=20)


@given(DOCUMENTS)
def test_patients_with_a_text_in_common_are_one_group(documents: list[tuple[int, str]]) -> None:
    patients = [patient for patient, _ in documents]
    texts = [text for _, text in documents]
    groups = merge_groups(patients, pl.Series(texts, dtype=pl.String))
    assert groups == [str(min(reached(patient, documents))) for patient in patients]


def reached(patient: int, documents: list[tuple[int, str]]) -> set[int]:
    """Patients that a chain of common texts leads to, by trying until nothing is new."""
    found = {patient}
    while True:
        texts = {text for one, text in documents if one in found}
        more = {one for one, text in documents if text in texts} | found
        if more == found:
            return found
        found = more


def test_what_tests_never_trains(tmp_path: Path) -> None:
    for name, people in (("train", "1\n2\n2\n3"), ("val", "3\n4"), ("test", "2\n5")):
        (tmp_path / f"mimic_{name}.csv").write_text(f"SUBJECT_ID\n{people}\n")
    lists, several = read_patient_lists(tmp_path)
    assert lists == {1: "train", 2: "test", 3: "validation", 4: "validation", 5: "test"} and several == 2
    splits = split_of_groups([1, 4, 1, 9, 8], ["a", "a", "b", "c", "b"], lists)
    assert splits == {"a": "validation", "b": "train"}
