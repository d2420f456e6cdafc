"""Splits documents by group, chooses subsets with even labels, and merges groups that share a text."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from clinlm.config.errors import ConfigError, DataError, MissingFileError

SPLITS = ("train", "validation", "test")
_SAMPLE = 256


def split_groups(
    groups: Sequence[str], targets: Bool[np.ndarray, "documents labels"], shares: Sequence[float], seed: int
) -> Int[np.ndarray, " documents"]:
    """Assign every document to a split: whole groups together, labels spread evenly.

    Source: iterative stratification, Sechidis et al. 2011, ECML PKDD, algorithm 1, with a group (patient) in place of
    an example. The rarest label that remains is taken; each of its groups, largest first, goes to the split that lacks
    most of that label; ties go to the split that lacks most documents, then to chance.

    Args:
        groups: one name per document.
        targets: which labels each document has; a document may have none.
        shares: target share of documents in each split; > 0, summing to 1.

    Returns:
        the index of the split, per document.

    Raises:
        ConfigError: shares that do not sum to 1, or fewer groups than splits.
    """
    if min(shares, default=0) <= 0 or abs(math.fsum(shares) - 1) > 1e-6:
        raise ConfigError(f"shares must be > 0 and sum to 1, got {list(shares)}; set task.shares")
    names, group = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    if len(names) < len(shares):
        raise ConfigError(
            f"{len(shares)} splits need at least as many groups, got {len(names)}; read more documents, or set another "
            "group column"
        )
    sizes = np.bincount(group)
    by_group = targets[np.argsort(group, kind="stable")]
    counts = np.add.reduceat(by_group, np.cumsum(sizes) - sizes, axis=0, dtype=np.int32)
    assigned = _deal(counts, sizes, np.asarray(shares), np.random.default_rng(seed))
    _fill_empty(assigned, sizes, len(shares))
    return assigned[group]


def split_documents(
    groups: Sequence[str],
    targets: Bool[np.ndarray, "documents labels"],
    shares: Sequence[float],
    seed: int,
    known: Mapping[str, str] | None,
) -> tuple[Int[np.ndarray, " documents"], list[str]]:
    """Return the split of every document, and notices.

    Args:
        groups, targets, shares, seed: as of `split_groups`.
        known: the split of every group, if the corpus defines it. If it has no validation, groups of training are
            drawn for it.
    """
    if known is None:
        return split_groups(groups, targets, shares, seed), []
    split = np.array([SPLITS.index(known[group]) for group in groups])
    train = np.flatnonzero(split == 0)
    if (split == 1).any() or not train.size:
        return split, []
    part = np.array(shares[:2]) / sum(shares[:2])
    split[train] = split_groups([groups[number] for number in train.tolist()], targets[train], part.tolist(), seed)
    return split, [
        f"the corpus has no validation: {(split == 1).sum():,} of {train.size:,} training notes serve as such"
    ]


def _deal(
    counts: Int[np.ndarray, "groups labels"],
    sizes: Int[np.ndarray, " groups"],
    shares: Float[np.ndarray, " splits"],
    rng: np.random.Generator,
) -> Int[np.ndarray, " groups"]:
    """Return the split of every group, by how many of its documents have each label, and by how many it has."""
    left = counts.sum(0, dtype=np.int64)  # documents that are not assigned yet, by label
    lacking, room = np.outer(shares, left), shares * sizes.sum()  # what each split lacks of each label, of documents
    assigned = np.full(len(counts), -1)
    while (assigned < 0).any():
        by_size = not left.any()
        label = -1 if by_size else int(np.argmin(np.where(left > 0, left, np.inf)))
        ours, lack = (sizes, room) if by_size else (counts[:, label], lacking[:, label])
        shuffled = rng.permutation(np.flatnonzero((assigned < 0) & (ours > 0)))
        for g in shuffled[np.argsort(-ours[shuffled], kind="stable")]:
            split = np.lexsort((rng.random(len(shares)), room, lack))[-1]
            assigned[g] = split
            lacking[split] -= counts[g]
            room[split] -= sizes[g]
            left -= counts[g]
    return assigned


def _fill_empty(assigned: Int[np.ndarray, " groups"], sizes: Int[np.ndarray, " groups"], splits: int) -> None:
    """Give every split at least one group, also in tiny corpora."""
    for split in range(splits):
        if not (assigned == split).any():
            crowded = np.bincount(assigned, minlength=splits).argmax()
            members = np.flatnonzero(assigned == crowded)
            assigned[members[sizes[members].argmin()]] = split


def even_subset(targets: Bool[np.ndarray, "documents labels"], size: int, seed: int) -> Int[np.ndarray, " size"]:
    """Choose `size` documents with labels as even as possible (the greedy label-aware subsampling of Smart GRIFFIN).

    The paper gives no algorithm. Ours: until `size` documents are chosen, take the label with the fewest chosen
    documents among those with documents left, then with the fewest left; of 256 draws from its documents choose the
    document whose other labels are the least common among the chosen, so that frequent labels do not accumulate.

    Returns:
        document numbers, ascending.

    Raises:
        ConfigError: fewer documents than `size`.
        DataError: a document has no label.
    """
    if len(targets) < size:
        raise ConfigError(f"documents must be <= {len(targets)}, got {size}; lower task.documents or set it to null")
    if not targets.any(1).all():
        raise DataError("every document must have a label; drop those without")
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(targets), dtype=bool)
    counts, left = np.zeros(targets.shape[1]), targets.sum(0)
    for _ in range(size):
        label = np.lexsort((left, np.where(left > 0, counts, np.inf)))[0]
        waiting = np.flatnonzero(targets[:, label] & ~chosen)
        # Drawn anew every time: from a fixed sample, documents once passed over would all be taken in the end.
        sample = waiting[rng.integers(len(waiting), size=_SAMPLE)]
        pick = sample[np.argmin(targets[sample] @ counts)]
        chosen[pick] = True
        counts += targets[pick]
        left -= targets[pick]
    return np.flatnonzero(chosen)


def draw_groups(
    groups: Sequence[str], among: Bool[np.ndarray, " documents"], documents: int, seed: int
) -> Bool[np.ndarray, " documents"]:
    """Draw whole groups at random until at least `documents` of the documents `among` are drawn.

    A larger draw with the same seed includes every smaller one.
    """
    names, group = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    sizes = np.bincount(group[among], minlength=len(names))[order]
    taken = order[np.cumsum(sizes) - sizes < documents]
    return among & np.isin(group, taken)


def imbalance(targets: Bool[np.ndarray, "documents labels"]) -> float:
    """Return the count of the most frequent label over that of the rarest; infinite if a label has no document."""
    counts = targets.sum(0)
    return float(counts.max() / counts.min()) if counts.min() else float("inf")


def split_files(root: Path, files: Mapping[str, str] | None) -> list[tuple[Path, str | None]]:
    """Return the files to read, each with its split; see `split_paths`.

    Raises:
        DataError: `root` is a folder, without `files`.
    """
    found = split_paths(root, files)
    if found[0][0].is_dir():
        raise DataError(f"root must be a file, got the folder {found[0][0]}; set files, or root to a file")
    return found


def split_paths(root: Path, files: Mapping[str, str] | None) -> list[tuple[Path, str | None]]:
    """Return the files, or folders, to read, each with its split.

    Args:
        root: the file itself, without a split; or the folder of `files`.
        files: split -> name of its file in `root`; None if root is the only file.

    Raises:
        MissingFileError: a file does not exist.
        ConfigError: `files` has no split or an unknown one, or one file for two.
    """
    if files is None:
        if not root.exists():
            raise MissingFileError(f"root must be a file or folder, got {root}, which does not exist; set task.root")
        return [(root, None)]
    if not files or set(files) - set(SPLITS):
        raise ConfigError(f"files must have keys of {', '.join(SPLITS)}, got {', '.join(files) or 'none'}")
    if len({*files.values()}) < len(files):
        raise ConfigError(f"files must be different, {', '.join(files.values())} names one twice; set one per split")
    for split, name in files.items():
        if not (root / name).exists():
            raise MissingFileError(f"the split {split} is {name}, {root} has none; set task.root, or files.{split}")
    return [(root / files[split], split) for split in SPLITS if split in files]


Name = TypeVar("Name", int, str)
"""Name of a patient, or of whatever else must not span two splits."""


def merge_groups(patients: Sequence[Name], texts: pl.Series) -> list[str]:
    """Return a group per document: patients that share a text word for word are merged, under the lowest name."""
    first: dict[str, Name] = {}
    parent = {patient: patient for patient in patients}

    def root(patient: Name) -> Name:
        while parent[patient] != patient:
            parent[patient] = patient = parent[parent[patient]]
        return patient

    for patient, text in zip(patients, texts, strict=True):
        lower, higher = sorted((root(patient), root(first.setdefault(text, patient))))
        parent[higher] = lower
    return [str(root(patient)) for patient in patients]
