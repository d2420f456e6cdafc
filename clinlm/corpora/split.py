"""Splitting documents so that no group straddles, and choosing a subset with even labels."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

SPLITS = ("train", "validation", "test")
_SAMPLE = 256


def split_groups(
    groups: Sequence[str], targets: Bool[np.ndarray, "documents labels"], shares: Sequence[float], seed: int
) -> Int[np.ndarray, " documents"]:
    """Assign every document to a split: whole groups together, labels spread as the groups allow.

    Source: iterative stratification, Sechidis et al. 2011, ECML PKDD, algorithm 1, with a group (patient) in place of
    an example. The rarest label not yet dealt out is taken; each of its groups, largest first, goes to the split that
    lacks most of that label, then to the one that lacks most documents, then to chance.

    Args:
        groups: one name per document.
        targets: which labels each document has; a document may have none.
        shares: wanted share of documents in each split; positive, summing to 1.
        seed: of the ties.

    Returns:
        the number of the split, per document.

    Raises:
        ValueError: shares that do not sum to 1, or fewer groups than splits.
    """
    if min(shares, default=0) <= 0 or abs(math.fsum(shares) - 1) > 1e-6:
        raise ValueError(f"the shares of the splits are positive and sum to 1; got {list(shares)}; set task.shares")
    names, group = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    if len(names) < len(shares):
        raise ValueError(
            f"{len(shares)} splits need at least as many groups, as a group never straddles; the documents have "
            f"{len(names)}; read more documents, or set another group column"
        )
    counts = np.zeros((len(names), targets.shape[1] + 1))
    np.add.at(counts, group, np.concatenate([targets, np.ones((len(targets), 1))], axis=1))
    assigned = _deal(counts, np.asarray(shares), np.random.default_rng(seed))
    _fill_empty(assigned, counts[:, -1], len(shares))
    return assigned[group]


def _deal(
    counts: Float[np.ndarray, "groups labels_and_size"], shares: Float[np.ndarray, " splits"], rng: np.random.Generator
) -> Int[np.ndarray, " groups"]:
    lacking = np.outer(shares, counts.sum(0))  # how much of each label, and of documents, each split still wants
    left = counts.copy()
    assigned = np.full(len(counts), -1)
    while (assigned < 0).any():
        totals = left[:, :-1].sum(0)
        label = int(np.argmin(np.where(totals > 0, totals, np.inf))) if totals.any() else counts.shape[1] - 1
        members = np.flatnonzero((assigned < 0) & (counts[:, label] > 0))
        shuffled = rng.permutation(members)
        for g in shuffled[np.argsort(-counts[shuffled, label], kind="stable")]:
            tie = rng.random(len(shares))
            order = np.lexsort((tie, lacking[:, -1], lacking[:, label]))
            assigned[g] = order[-1]
            lacking[order[-1]] -= counts[g]
            left[g] = 0
    return assigned


def _fill_empty(assigned: Int[np.ndarray, " groups"], sizes: Float[np.ndarray, " groups"], splits: int) -> None:
    """Give every split at least one group: tiny corpora would otherwise leave one without documents."""
    for split in range(splits):
        if not (assigned == split).any():
            crowded = np.bincount(assigned, minlength=splits).argmax()
            members = np.flatnonzero(assigned == crowded)
            assigned[members[sizes[members].argmin()]] = split


def even_subset(targets: Bool[np.ndarray, "documents labels"], size: int, seed: int) -> Int[np.ndarray, " size"]:
    """Choose `size` documents so that the labels come out as evenly as they can (S0's greedy label-aware subsampling).

    S0 gives no algorithm. Ours: until `size` documents are chosen, take the label with the fewest chosen documents
    among those that still have some, of equal ones that with the fewest left; of its documents (of 256 draws from those
    left: the choice is a minimum over a sample) take the one whose other labels are the least common among the chosen,
    so that a frequent companion is not pulled in.

    Returns:
        document numbers, ascending.

    Raises:
        ValueError: fewer documents than `size`, or a document without any label.
    """
    if len(targets) < size:
        raise ValueError(f"cannot choose {size} of {len(targets)} documents; lower task.documents or leave it null")
    if not targets.any(1).all():
        raise ValueError("every document to choose from has a label; drop those with none first")
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(targets), dtype=bool)
    counts, left = np.zeros(targets.shape[1]), targets.sum(0)
    for _ in range(size):
        label = np.lexsort((left, np.where(left > 0, counts, np.inf)))[0]
        waiting = np.flatnonzero(targets[:, label] & ~chosen)
        # Drawn anew every time: in a window that stays, the documents once refused would all be taken in the end.
        sample = waiting[rng.integers(len(waiting), size=_SAMPLE)]
        pick = sample[np.argmin(targets[sample] @ counts)]
        chosen[pick] = True
        counts += targets[pick]
        left -= targets[pick]
    return np.flatnonzero(chosen)


def draw_groups(
    groups: Sequence[str], among: Bool[np.ndarray, " documents"], documents: int, seed: int
) -> Bool[np.ndarray, " documents"]:
    """Draw whole groups at random, one after the other, until at least `documents` of the documents `among` are drawn.

    A larger draw with the same seed holds every smaller one.
    """
    names, group = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    sizes = np.bincount(group[among], minlength=len(names))[order]
    taken = order[np.cumsum(sizes) - sizes < documents]
    return among & np.isin(group, taken)


def imbalance(targets: Bool[np.ndarray, "documents labels"]) -> float:
    """Return the documents of the most frequent label over those of the rarest; infinite if a label has none."""
    counts = targets.sum(0)
    return float(counts.max() / counts.min()) if counts.min() else float("inf")


def split_files(root: Path, files: Mapping[str, str] | None) -> list[tuple[Path, str | None]]:
    """The files, or folders, to read, each with its split.

    Args:
        root: the file itself, of no split; or the folder that `files` are in.
        files: split (of `clinlm.corpora.split.SPLITS`) to the name of its file in `root`; None where root is all there
            is.

    Raises:
        FileNotFoundError: something is missing.
        ValueError: `files` names no split, or one that there is not, or one file for two.
    """
    if files is None:
        if not root.exists():
            raise FileNotFoundError(f"a corpus reads files; there are none at {root}; set task.root to where they lie")
        return [(root, None)]
    if not files or set(files) - set(SPLITS):
        raise ValueError(f"files name splits, of {', '.join(SPLITS)}; {', '.join(files) or 'none'} came; set these")
    if len({*files.values()}) < len(files):
        raise ValueError(f"a file is of one split; {', '.join(files.values())} names one twice; set one for each")
    for split, name in files.items():
        if not (root / name).exists():
            raise FileNotFoundError(f"the split {split} is {name}; {root} has none; set task.root, or files.{split}")
    return [(root / files[split], split) for split in SPLITS if split in files]


Name = TypeVar("Name", int, str)
"""What a patient, or whatever else must not straddle a split, is called."""


def merge_groups(patients: Sequence[Name], texts: pl.Series) -> list[str]:
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
