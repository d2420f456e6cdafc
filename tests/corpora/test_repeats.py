"""Laws of repeated documents: none straddles a split, and near-duplicates are those that brute force finds."""

import csv
import itertools
import random
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from clinlm.corpora.repeats import SIMILARITY, WORDS, Repeats, near_pairs, straddling_notices, tie_repeats
from clinlm.corpora.table import Table
from clinlm.tasks.multilabel import MultiLabel
from clinlm.text.long_notes import Head


def shingles(text: str) -> set[tuple[str, ...]]:
    words = text.lower().split()
    return set(zip(*(words[place:] for place in range(WORDS)), strict=False))


def jaccard(left: str, right: str) -> float:
    one, other = shingles(left), shingles(right)
    return len(one & other) / len(one | other) if one or other else 0.0


def copied_forward(seed: int, notes: int = 60) -> list[str]:
    """Notes, a third of which are an earlier one with a few words changed."""
    rng = random.Random(seed)
    texts: list[str] = []
    for number in range(notes):
        words = rng.choices([f"word{one}" for one in range(300)], k=rng.randint(1, 120))
        if number % 3 == 2:
            words = rng.choice(texts).split()
            for _ in range(rng.randint(0, len(words) // 12 + 1)):
                words[rng.randrange(len(words))] = f"new{rng.randrange(9)}"
        texts.append(" ".join(words))
    return texts


@pytest.mark.parametrize("seed", range(3))
def test_near_duplicates_are_those_of_brute_force(seed: int) -> None:
    texts = copied_forward(seed)
    expected = {
        (a, b) for a, b in itertools.combinations(range(len(texts)), 2) if jaccard(texts[a], texts[b]) >= SIMILARITY
    }
    assert expected and {tuple(sorted(pair)) for pair in near_pairs(texts).tolist()} == expected
    assert len(near_pairs([])) == len(near_pairs(["two words", "two words"])) == 0


def written(path: Path, texts: list[str]) -> Path:
    """Write every text as a note of a patient of its own, with one of two labels."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = [(f"p{number}", text, "ab"[number % 2]) for number, text in enumerate(texts)]
        csv.writer(file).writerows([("patient", "text", "labels"), *rows])
    return path


def opened(path: Path, root: Path, **settings: Any) -> MultiLabel:
    corpus = partial(Table, text="text", labels="labels", group="patient", delimiter=";", **settings)
    return MultiLabel(corpus, str(path), Head(), shares=(0.5, 0.25, 0.25)).open(root, "key")


@pytest.mark.parametrize("choice", ["count", "merge", "ignore"])
def test_a_text_is_in_one_split_and_near_duplicates_if_merged(tmp_path: Path, choice: str) -> None:
    texts = copied_forward(0, 150)
    texts += [
        change(text)
        for text, change in zip(texts, [str.upper, lambda text: text.replace(" ", " \n")] * 5, strict=False)
    ]
    examples = opened(written(tmp_path / "t.csv", texts), tmp_path / "store", near_duplicates=choice).examples
    frame = examples.frame.with_columns(pl.col("text").str.to_lowercase().str.replace_all(r"\s+", " ").alias("plain"))
    for column in ("plain", "group"):
        assert frame.group_by(column).agg(pl.col("split").n_unique())["split"].max() == 1
    split, found = frame["split"].to_list(), frame["text"].to_list()
    apart = [(a, b) for a, b in near_pairs(found).tolist() if (split[a] == "test") != (split[b] == "test")]
    assert bool(apart) == (choice != "merge")
    told = [notice for notice in examples.notices if "nearly repeat" in notice]
    assert bool(told) == (choice != "ignore")
    assert ("task.corpus.near_duplicates" in "".join(told)) == (choice == "count")
    assert any("repeat a text of another group" in notice for notice in examples.notices)


def test_a_fixed_split_stays_and_what_straddles_it_is_counted() -> None:
    texts = ["One two  three four", "one TWO three four", "five", "six", "five"]
    frame = pl.DataFrame({"text": texts, "group": list("abcde")})
    tied, repeats, notices = tie_repeats(frame, "count", fixed=True)
    assert tied.equals(frame) and not notices
    (told,) = straddling_notices(repeats, np.array([0, 2, 2, 0, 2]), mergeable=True)
    assert told.startswith("1 of 3 test notes stand in training or validation, too")
    assert straddling_notices(repeats, np.array([0, 0, 2, 0, 2]), mergeable=True) == []
    assert Repeats.find(texts, look=False).near is None


def test_groups_that_share_texts_in_a_chain_become_one() -> None:
    frame = pl.DataFrame({"text": ["x", "y", "y ", "z", "Z", "w"], "group": ["b", "b", "c", "c", "a", "d"]})
    tied, _, notices = tie_repeats(frame, "ignore", fixed=False)
    assert tied["group"].to_list() == ["a", "a", "a", "a", "a", "d"]
    assert notices == [
        "4 of 6 notes repeat a text of another group (but for case and white space): these groups share a split"
    ]
