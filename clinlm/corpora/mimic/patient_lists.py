"""Groups of patients, and published lists that say which patients train, validate and test."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import polars as pl

from clinlm.corpora.split import SPLITS
from clinlm.files.delimited import scan_delimited
from clinlm.files.pandas_values import require_whole, whole

FILES = dict(zip(("mimic_train.csv", "mimic_val.csv", "mimic_test.csv"), SPLITS, strict=True))
"""The lists, and the split of each. A later one counts before an earlier one, so that what tests never trains."""


def paths(root: Path) -> list[Path]:
    """The three files.

    Raises:
        FileNotFoundError: one of them is missing.
    """
    for name in FILES:
        if not (root / name).is_file():
            raise FileNotFoundError(f"the published split is {', '.join(FILES)}; {root} has no {name}; set lists_root")
    return [root / name for name in FILES]


def read(root: Path) -> tuple[dict[int, str], int]:
    """The split of every SUBJECT_ID in the lists, and how many patients stand in several of them."""
    found: dict[int, str] = {}
    several: set[int] = set()
    for path, split in zip(paths(root), FILES.values(), strict=True):
        table = scan_delimited(path, ["SUBJECT_ID"]).collect(engine="streaming")
        require_whole(table, "SUBJECT_ID", path.name)
        people = set(table.select(whole("SUBJECT_ID"))["SUBJECT_ID"].drop_nulls())
        several |= people & found.keys()
        found |= dict.fromkeys(people, split)
    return found, len(several)


def split_of_groups(patients: Sequence[int], groups: Sequence[str], lists: Mapping[int, str]) -> dict[str, str]:
    """The split of every group that has a patient in the lists; of several, the one that counts before the others."""
    split: dict[str, str] = {}
    for patient, group in zip(patients, groups, strict=True):
        if patient in lists:
            split[group] = max(lists[patient], split.get(group, SPLITS[0]), key=SPLITS.index)
    return split


Name = TypeVar("Name", int, str)
"""What a patient, or whatever else must not straddle a split, is called."""


def united(patients: Sequence[Name], texts: pl.Series) -> list[str]:
    """Name a group per document: patients that share a text word for word are one, named by the lowest name."""
    first: dict[str, Name] = {}
    parent = {patient: patient for patient in patients}

    def root(patient: Name) -> Name:
        while parent[patient] != patient:
            parent[patient] = patient = parent[parent[patient]]
        return patient

    for patient, text in zip(patients, texts, strict=True):
        one, other = sorted((root(patient), root(first.setdefault(text, patient))))
        parent[other] = one
    return [str(root(patient)) for patient in patients]
