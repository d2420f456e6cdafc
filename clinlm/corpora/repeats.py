"""Documents that repeat others, word for word or nearly: copied-forward notes, templates, double exports."""

import hashlib
import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int, UInt32, UInt64
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from clinlm.corpora.base import Corpus, NearDuplicates, count_notices
from clinlm.corpora.split import SPLITS, merge_groups

SIMILARITY: Final = 0.8
"""Least Jaccard similarity of the shingles of near-duplicates."""

WORDS: Final = 3
"""Words of a shingle."""

_MEASURE = f"Jaccard >= {SIMILARITY} of {WORDS}-word shingles"

_ROWS, _BANDS = 5, 20
"""Of the signature: a pair of similarity 0.8 agrees in one band at least with a probability of 0.9996."""

_MARGIN = 0.15
"""An estimate from 100 hashes is off by more than this once in 10,000 pairs."""

_NEIGHBOURS = 16
"""Most later documents of a bucket that a document is compared with, so that a template makes no n² pairs."""

_TEXTS = 256
"""Texts that are strings of Python at once."""

_SHINGLES = 2**20
"""Shingles hashed at once."""

_WORD = re.compile(r"\w+")
_ODD = np.random.default_rng(0).integers(2**63, size=(WORDS + 2 * _ROWS * _BANDS), dtype=np.uint64) * 2 + 1


@dataclass(frozen=True)
class Repeats:
    """Which documents repeat which.

    Attributes:
        equal: number of the text of each document, in lower case with single spaces, in the order of the documents;
            repeats have the same.
        near: number of the set of near-duplicates that each document is in; None if they were not looked for.
    """

    equal: Int[np.ndarray, " documents"]
    near: Int[np.ndarray, " documents"] | None

    @classmethod
    def find(cls, texts: Sequence[str] | pl.Series, look: bool) -> "Repeats":
        """Find the repeats among `texts`; near-duplicates only if `look`."""
        numbers: dict[bytes, int] = {}
        equal = np.fromiter((numbers.setdefault(digest, len(numbers)) for digest in _digests(texts)), dtype=np.int64)
        first = np.unique(equal, return_index=True)[1]
        if not look:
            return cls(equal, None)
        pairs = near_pairs(pl.Series(texts, dtype=pl.String).gather(first))
        joined = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(first), len(first)))
        return cls(equal, connected_components(joined, directed=False)[1][equal])

    def across(
        self, numbers: Int[np.ndarray, " documents"], places: Sequence[str] | Int[np.ndarray, " documents"]
    ) -> Bool[np.ndarray, " documents"]:
        """Return which documents have a repeat (one with the same number) in another place, such as a group."""
        frame = pl.DataFrame({"number": numbers, "place": places})
        return frame.select(pl.col("place").n_unique().over("number") > 1)["place"].to_numpy()


def can_merge(corpus: Corpus, fixed: bool) -> bool:
    """Return whether `near_duplicates=merge` of a corpus would change a split; of a `fixed` one it does not."""
    return not fixed and "near_duplicates" in inspect.signature(type(corpus)).parameters


def tie_repeats(
    frame: pl.DataFrame, near_duplicates: NearDuplicates, fixed: bool
) -> tuple[pl.DataFrame, Repeats, list[str]]:
    """Merge the groups of documents that repeat one another, so that no split by group parts them.

    Args:
        frame: as `Records.frame`.
        near_duplicates: `merge` merges those of near-duplicates, too.
        fixed: whether the corpus defines the split of its groups: then they stay as they are.

    Returns:
        the frame with the new groups; what repeats what; and notices.
    """
    repeats = Repeats.find(frame["text"], near_duplicates != "ignore")
    if fixed:
        return frame, repeats, []
    notices, groups = [], frame["group"].to_list()
    steps = [(repeats.equal, "repeat a text of another group (but for case and white space)")]
    if near_duplicates == "merge" and repeats.near is not None:
        steps.append((repeats.near, f"nearly repeat a note of another group ({_MEASURE})"))
    for numbers, what in steps:
        count = int(repeats.across(numbers, groups).sum())
        if count:
            notices.append(f"{count:,} of {len(frame):,} notes {what}: these groups share a split")
            groups = merge_groups(groups, pl.Series(numbers))
    return frame.with_columns(pl.Series("group", groups, dtype=pl.String)), repeats, notices


def straddling_notices(repeats: Repeats, split: Int[np.ndarray, " documents"], mergeable: bool) -> list[str]:
    """Return notices of the test documents that repeat others outside of test.

    Args:
        repeats: of the documents.
        split: number of the split of each.
        mergeable: whether `task.corpus.near_duplicates=merge` would keep them together.
    """
    test = split == SPLITS.index("test")
    place, total = test.astype(np.int64), int(test.sum())
    equal = repeats.across(repeats.equal, place) & test
    counts = [
        (
            int(equal.sum()),
            f"of {total:,} test notes stand in training or validation, too (but for case and white space), which "
            "flatters every model; the split is the corpus's own",
        )
    ]
    if repeats.near is not None:
        near = repeats.across(repeats.near, place) & test & ~equal
        what = f"of {total:,} test notes nearly repeat one of training or validation ({_MEASURE})"
        advice = "; task.corpus.near_duplicates=merge keeps such notes in one split" if mergeable else ""
        counts.append((int(near.sum()), what + advice))
    return count_notices(counts)


def near_pairs(texts: Sequence[str] | pl.Series, similarity: float = SIMILARITY) -> Int[np.ndarray, "pairs two"]:
    """Return pairs of texts whose sets of shingles (runs of words) have at least this Jaccard similarity.

    Candidates come from MinHash with banding (Broder 1997; Leskovec, Rajaraman & Ullman, Mining of Massive Datasets,
    chapter 3), and are then compared exactly. Of many texts alike, not every pair is returned, but enough to join them.
    A text of fewer words than a shingle has none. It takes about 0.3 ms a note of 400 words, and memory for 400 bytes
    a note. Written here, as the result decides splits: a library's hashes may change with its version.
    """
    numbers: dict[str, int] = {}
    signatures = np.full((len(texts), _ROWS * _BANDS), np.iinfo(np.uint32).max, dtype=np.uint32)
    for first, shingles, starts in _blocks(texts, numbers):
        sizes = np.diff(starts)
        filled = np.flatnonzero(sizes)
        signatures[first + filled] = _signatures(shingles, starts[filled])
    filled = np.flatnonzero(signatures.min(axis=1) < np.iinfo(np.uint32).max)
    found = [_candidates(signatures[filled], band, similarity - _MARGIN) for band in range(_BANDS)]
    pairs = filled[np.unique(np.concatenate(found), axis=0)]
    documents, places = np.unique(pairs, return_inverse=True)
    places = places.reshape(pairs.shape)
    alike: Int[np.ndarray, "pairs two"] = pairs[
        _jaccard([texts[int(number)] for number in documents], places, numbers) >= similarity
    ]
    return alike


def _digests(texts: Sequence[str] | pl.Series) -> Iterator[bytes]:
    """Yield a digest of every text, in lower case with single spaces."""
    for start in range(0, len(texts), _TEXTS):
        part = pl.Series(texts[start : start + _TEXTS], dtype=pl.String)
        normal = part.str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()
        for text in normal.to_list():
            yield hashlib.blake2b(text.encode(), digest_size=16).digest()


def _each(texts: Sequence[str] | pl.Series) -> Iterator[str]:
    """Yield every text; of a series, few are strings of Python at once."""
    for start in range(0, len(texts), _TEXTS):
        yield from list(texts[start : start + _TEXTS])


def _blocks(
    texts: Sequence[str] | pl.Series, numbers: dict[str, int]
) -> Iterator[tuple[int, UInt64[np.ndarray, " shingles"], Int[np.ndarray, " documents_and_end"]]]:
    """Yield the number of the first text of a block, the shingles of all its texts, and where those of each start."""
    first, parts, size = 0, list[UInt64[np.ndarray, " shingles"]](), 0
    for number, text in enumerate(_each(texts)):
        words = [numbers.setdefault(word, len(numbers)) for word in _WORD.findall(text.lower())]
        parts.append(_shingles(np.array(words, dtype=np.uint64)))
        size += len(parts[-1])
        if size >= _SHINGLES or number == len(texts) - 1:
            yield first, np.concatenate(parts), np.cumsum([0, *map(len, parts)])
            first, parts, size = number + 1, [], 0


def _shingles(words: UInt64[np.ndarray, " words"]) -> UInt64[np.ndarray, " shingles"]:
    count = max(len(words) - WORDS + 1, 0)
    mixed = np.zeros(count, dtype=np.uint64)
    for place in range(WORDS):
        mixed += (words[place : place + count] + np.uint64(1)) * _ODD[place]
        mixed ^= mixed >> np.uint64(29)
    return mixed


def _signatures(
    shingles: UInt64[np.ndarray, " shingles"], starts: Int[np.ndarray, " documents"]
) -> UInt32[np.ndarray, "documents hashes"]:
    columns = []
    for factor, term in _ODD[WORDS:].reshape(-1, 2):
        columns.append(np.minimum.reduceat((shingles * factor + term) >> np.uint64(32), starts))
    return np.stack(columns, axis=1).astype(np.uint32)


def _candidates(
    signatures: UInt32[np.ndarray, "documents hashes"], band: int, least: float
) -> Int[np.ndarray, "pairs two"]:
    """Return pairs that agree in the whole band, and in about `least` of all hashes."""
    own = signatures[:, band * _ROWS : (band + 1) * _ROWS].astype(np.uint64)
    key = (own * _ODD[:_ROWS]).sum(axis=1, dtype=np.uint64)
    order = np.argsort(key, kind="stable")
    found = [np.empty((0, 2), dtype=np.int64)]
    for distance in range(1, min(_NEIGHBOURS + 1, len(order))):
        same = np.flatnonzero(key[order[distance:]] == key[order[:-distance]])
        if not same.size:
            break
        pairs = np.stack([order[same], order[same + distance]], axis=1)
        for part in np.array_split(pairs, len(pairs) // 2**16 + 1):
            agree = (signatures[part[:, 0]] == signatures[part[:, 1]]).mean(axis=1)
            found.append(part[agree >= least])
    return np.concatenate(found)


def _jaccard(
    texts: Sequence[str], pairs: Int[np.ndarray, "pairs two"], numbers: dict[str, int]
) -> Float[np.ndarray, " pairs"]:
    """Return the Jaccard similarity of pairs of texts, exactly."""
    if not len(pairs):
        return np.empty(0)
    sets = [np.unique(shingles[a:b]) for _, shingles, starts in _blocks(texts, numbers) for a, b in _spans(starts)]
    sizes = np.array([len(own) for own in sets])
    known, columns = np.unique(np.concatenate(sets), return_inverse=True)
    starts = np.cumsum([0, *sizes])
    rows = csr_array((np.ones(len(columns), dtype=np.int32), columns, starts), shape=(len(sets), len(known)))
    shared = [
        rows[part[:, 0]].multiply(rows[part[:, 1]]).sum(axis=1)
        for part in np.array_split(pairs, len(pairs) // 4096 + 1)
    ]
    both = np.concatenate(shared).astype(np.float64)
    found: Float[np.ndarray, " pairs"] = both / (sizes[pairs].sum(axis=1) - both)
    return found


def _spans(starts: Int[np.ndarray, " documents_and_end"]) -> Iterator[tuple[int, int]]:
    return zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
