"""The TF-IDF baseline as small as its quality on validation allows: the terms that matter, with INT8 weights."""

import hashlib
import json
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, final

import numpy as np
from jaxtyping import Bool, Float16, Float32, Float64, Int, Int8
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from clinlm.config.errors import DataError
from clinlm.metrics.baseline import (
    STRENGTHS,
    TfidfBaseline,
    ValidationTargets,
    Weights,
    read_part,
    regressions,
    some_labels,
    validation_ranking,
)
from clinlm.metrics.decisions import Probabilities, sigmoid
from clinlm.metrics.joint_regressions import BLOCK
from clinlm.metrics.term_counter import TermCounter
from clinlm.metrics.term_model import CARD
from clinlm.store.content import write_files
from clinlm.text.group_floor import GroupFloor

if TYPE_CHECKING:  # answering must not import it
    from scipy.sparse import csc_array, csr_array

    from clinlm.metrics.classification import Targets

TOLERANCE: Final = 0.003
"""How far the ranking of the validation documents may be below that of all terms, as a share: 0.3 points."""

SIZES: Final = (
    *(250, 350, 500, 700, 1_000, 1_400, 2_000, 2_800, 4_000, 5_600, 8_000, 11_000, 16_000, 22_000, 32_000),
    *(45_000, 64_000, 90_000, 128_000),
)
"""Numbers of terms tried on validation; then all terms."""

INT8_FILES: Final = ("terms.zlib", "weights.zlib", CARD)
"""What a saved one consists of: terms and arrays (safetensors), each compressed with zlib, and the card."""

_FORMAT: Final = {"format": "tfidf int8", "version": 1, "terms": "words and pairs of words", "coefficients": "int8"}
_LARGEST: Final = 127
_STEP: Final = 3
"""Sizes skipped by until one is large enough; those between are tried after it."""


@final
class _Fitted(NamedTuple):
    score: float
    strength: float
    weights: Int8[np.ndarray, "terms labels"]
    scales: Float32[np.ndarray, " labels"]
    bias: Float32[np.ndarray, " labels"]


@final
class _Sizes:
    """What is fitted on the first terms of an order, by their number."""

    def __init__(
        self,
        whole: TfidfBaseline,
        order: Int[np.ndarray, " terms"],
        rows: "csc_array",
        targets: "Targets",
        held: "csc_array",
        held_targets: ValidationTargets,
    ) -> None:
        self._whole, self._order, self._rows, self._targets = whole, order, rows, targets
        self._held, self._held_targets = held, held_targets
        self.idf: Float16[np.ndarray, " terms"] = whole.idf.astype(np.float16)
        self._ratio = self.idf.astype(np.float32) / whole.idf
        self._fitted: dict[int, _Fitted] = {}

    def of(self, size: int) -> _Fitted:
        """Return what is fitted on so many terms, at a C between those of fewer and of more terms."""
        if size not in self._fitted:
            rows, held = (self._kept(own, size) for own in (self._rows, self._held))
            fitted = self._fitted.items()
            low = max((own.strength for tried, own in fitted if tried < size), default=STRENGTHS[0])
            high = min((own.strength for tried, own in fitted if tried > size), default=self._whole.strength)
            strengths = [strength for strength in STRENGTHS if low <= strength <= high]
            self._fitted[size] = _best_strength(rows, self._targets, held, self._held_targets, strengths)
        return self._fitted[size]

    def of_all(self, size: int, targets: "Targets") -> _Fitted:
        """Return what is fitted to all labels on so many terms, at the C of `of`."""
        found = self.of(size)
        ((_, weights, bias),) = regressions(self._kept(self._rows, size), targets, (found.strength,))
        return _Fitted(found.score, found.strength, *quantized_weights(weights), bias)

    def _kept(self, rows: "csc_array", size: int) -> "csr_array":
        from scipy.sparse import csr_array

        kept = np.sort(self._order[:size])
        return _unit_rows(csr_array(rows[:, kept] * self._ratio[kept]))


@final
class Int8Baseline:
    """A `TfidfBaseline` with fewer terms and INT8 weights, fitted again on the terms that are kept.

    It is made to be copied: its terms (compressed on disk, not hidden) are words of the training notes, and with a
    `floor` those of several patients only. A saved one is under the same agreement as the notes.

    Attributes:
        vocabulary: the terms, sorted; in the order of the rows of `weights`.
        idf: inverse document frequency of every term. Weights cannot hold it: it decides the length of a document, too.
        weights: of the logistic regressions, terms x labels: times its label's scale, an integer is a weight.
        scales: one a label; positive.
        bias: of the logistic regressions.
        strength: the C of `STRENGTHS` that was chosen for these terms.
        rare: terms of the whole baseline that were left out because too few groups have them.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        idf: Float16[np.ndarray, " terms"],
        weights: Int8[np.ndarray, "terms labels"],
        scales: Float32[np.ndarray, " labels"],
        bias: Float32[np.ndarray, " labels"],
        strength: float,
        rare: int = 0,
    ) -> None:
        """Assemble from parts; use `fit` or `load`.

        Raises:
            ValueError: the parts do not fit each other.
        """
        shapes = (len(vocabulary),), (len(vocabulary), len(bias)), bias.shape
        if (idf.shape, weights.shape, scales.shape) != shapes:
            raise ValueError(
                f"idf, weights and scales must have shapes {shapes} for {len(vocabulary)} terms and {len(bias)} "
                f"labels, got {idf.shape}, {weights.shape} and {scales.shape}"
            )
        self.vocabulary, self.idf, self.weights, self.scales, self.bias = tuple(vocabulary), idf, weights, scales, bias
        self.strength, self.rare = strength, rare
        self._count, self._wide_idf = TermCounter(vocabulary), idf.astype(np.float32)

    @classmethod
    def fit(
        cls,
        whole: TfidfBaseline,
        texts: Sequence[str],
        targets: "Targets",
        validation_texts: Sequence[str],
        validation_targets: ValidationTargets,
        floor: GroupFloor | None = None,
    ) -> "Int8Baseline":
        """Keep the fewest terms whose quality on validation is that of all, within `TOLERANCE`.

        Quality is what chooses C in `TfidfBaseline.fit`, of the same labels. Terms are kept in the order of their
        largest weight of any label times the root mean square of their value in training documents: by how much a term
        moves the logit of the label that it matters most to. For a size, the regressions are fitted again on rows of
        length 1 of the kept terms, at the C that is best on validation with the INT8 weights. Quality and C are taken
        to grow with the size: sizes are tried in steps of `_STEP` until one is good enough, then those before it, and C
        never above the whole's. Where no size is good enough, all terms are kept. Where terms of too few groups are
        left out, quality is held against that of all others, if that is lower.

        Args:
            whole: fitted on the same texts.
            targets: 0/1 or bool, documents x labels.
            validation_texts: documents to choose by; none of test.
            validation_targets: their labels.
            floor: groups of the training documents, and how many of them must have a term; None for all terms.

        Raises:
            DataError: the validation targets are all equal, or no term has enough groups.
        """
        from scipy.sparse import csr_array

        rows, held = (csr_array(whole.vectors(own)).tocsc() for own in (texts, validation_texts))
        some = some_labels(targets)
        held_targets = validation_targets[:, some]
        least = validation_ranking(whole.probabilities(validation_texts)[:, some], held_targets) - TOLERANCE
        power = np.sqrt(np.asarray(rows.multiply(rows).mean(axis=0)).ravel())
        largest = np.maximum(whole.weights.max(axis=0), -whole.weights.min(axis=0)).astype(np.float32)
        order = np.argsort(-power * largest, kind="stable")
        order = order[_common(rows, floor)[order]]
        found = _Sizes(whole, order, rows, targets[:, some], held, held_targets)
        rare = len(whole.vocabulary) - len(order)
        if rare:
            least = min(least, found.of(len(order)).score - TOLERANCE)
        sizes = [*(size for size in SIZES if size < len(order)), len(order)]
        size = _smallest(sizes, lambda size: found.of(size).score >= least or size == len(order))
        kept = np.sort(order[:size])
        best = found.of(size) if len(some) == targets.shape[1] else found.of_all(size, targets)
        terms = [whole.vocabulary[place] for place in kept]
        return cls(terms, found.idf[kept], best.weights, best.scales, best.bias, best.strength, rare)

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """Return the probability of every label for every text, in [0, 1], documents x labels."""
        return sigmoid(self.logits(texts))

    def logits(self, texts: Sequence[str]) -> Float64[np.ndarray, "documents labels"]:
        """Return the logit of every label for every text, documents x labels: `probabilities` are their sigmoid."""
        return np.asarray(self._count.products(texts, self._wide_idf, self.weights) * self.scales + self.bias)

    def vectors(
        self, texts: Sequence[str]
    ) -> tuple[Int[np.ndarray, " found"], Int[np.ndarray, " found"], Float32[np.ndarray, " found"]]:
        """Return the weighted terms: numbers of texts and of terms, and values; those of a text have length 1."""
        return self._count.weighted(texts, self._wide_idf)

    @property
    def parameters(self) -> int:
        """Weights, scales, biases and idf values."""
        return self.weights.size + self.scales.size + self.bias.size + self.idf.size

    @property
    def nonzero(self) -> int:
        """Parameters that are not 0."""
        return sum(int(np.count_nonzero(array)) for array in (self.weights, self.scales, self.bias, self.idf))

    def save(self, folder: Path) -> None:
        """Write `INT8_FILES`: the terms, the numbers and, last, a card with the digests of the other two.

        Every file is replaced atomically; a save cut short is found by `load`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        write_files(folder, _files(self))

    @classmethod
    def load(cls, folder: Path) -> "Int8Baseline":
        """Read what `save` wrote.

        Raises:
            MissingFileError: a file is missing.
            DataError: a file is damaged, of another save, or of another version of clinlm.
        """
        terms, arrays, card = (read_part(folder / name) for name in INT8_FILES)
        try:
            content = json.loads(card)
            known = {name: content[name] for name in _FORMAT} == _FORMAT
            whole = content["sha256"] == [hashlib.sha256(part).hexdigest() for part in (terms, arrays)]
            parts = load_arrays(zlib.decompress(arrays))
            vocabulary = zlib.decompress(terms).decode().splitlines()
            strength, rare = float(content["strength"]), int(content.get("rare", 0))
        except (ValueError, KeyError, TypeError, SafetensorError, zlib.error):
            whole = known = False
        if not whole:
            raise DataError(f"files of a saved baseline must belong together, got others in {folder}; fit it again")
        if not known:
            raise DataError(
                f"a saved INT8 baseline must have the format of this version, {_FORMAT}, got another in {folder}; fit "
                "it again, or use the version of clinlm that wrote it"
            )
        return cls(vocabulary, parts["idf"], parts["weights"], parts["scales"], parts["bias"], strength, rare)


def holds_int8_baseline(folder: Path) -> bool:
    """Return whether the card of a folder is that of an `Int8Baseline`."""
    try:
        return bool(json.loads((folder / CARD).read_text(encoding="utf-8"))["format"] == _FORMAT["format"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def quantized_weights(
    weights: Weights,
) -> tuple[Int8[np.ndarray, "terms labels"], Float32[np.ndarray, " labels"]]:
    """Return weights as integers in [-127, 127] and one positive scale a label: their products are nearest to them."""
    largest = np.maximum(weights.max(axis=1, initial=0), -weights.min(axis=1, initial=0)).astype(np.float32)
    scales = np.where(largest > 0, largest / _LARGEST, 1).astype(np.float32)
    found = np.empty(weights.T.shape, np.int8)  # C-contiguous: safetensors stores memory as it lies
    for at in range(0, len(weights), BLOCK):  # of thousands of labels, quotients take gigabytes
        found[:, at : at + BLOCK] = np.rint(weights[at : at + BLOCK].T / scales[at : at + BLOCK])
    return found, scales


def _smallest(sizes: Sequence[int], passes: Callable[[int], bool]) -> int:
    """Return the smallest of ascending sizes that passes, if all larger ones pass, too; the last one always passes."""
    low, high = -1, 0
    while not passes(sizes[high]):
        low, high = high, min(high + _STEP, len(sizes) - 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if passes(sizes[middle]) else (middle, high)
    return sizes[high]


def _common(rows: "csc_array", floor: GroupFloor | None) -> Bool[np.ndarray, " terms"]:
    """Return which terms enough groups have.

    Args:
        rows: training documents x terms.

    Raises:
        DataError: none.
    """
    if floor is None or floor.least == 1:
        return np.ones(rows.shape[1], dtype=bool)
    texts, terms = rows.nonzero()
    common: Bool[np.ndarray, " terms"] = floor.count(texts, terms, rows.shape[1]) >= floor.least
    if not common.any():
        raise DataError(
            f"TF-IDF int8, which is made to be copied, needs terms that at least {floor.least} groups (patients) have, "
            f"got none in {len(set(floor.groups.tolist())):,} groups of {rows.shape[0]:,} training texts; use more "
            "documents, or lower task.min_groups"
        )
    return common


def _best_strength(
    rows: "csr_array",
    targets: "Targets",
    held: "csr_array",
    held_targets: ValidationTargets,
    strengths: Sequence[float],
) -> _Fitted:
    """Return what is fitted at the first strength after which validation is ranked no better."""
    best: _Fitted | None = None
    for strength, weights, bias in regressions(rows, targets, strengths):
        integers, scales = quantized_weights(weights)
        del weights
        blocks = range(0, len(bias), BLOCK)
        values = [held @ (integers[:, at : at + BLOCK] * scales[at : at + BLOCK]) for at in blocks]
        score = validation_ranking(sigmoid(np.hstack(values) + bias), held_targets)
        if best is not None and score <= best.score:
            break
        best = _Fitted(score, strength, integers, scales, bias)
    assert best is not None, "one is tried"
    return best


def _unit_rows(rows: "csr_array") -> "csr_array":
    """Return rows of length 1, or of 0 where no term is left."""
    from scipy.sparse import csr_array, diags_array

    lengths = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    return csr_array(diags_array(np.where(lengths > 0, 1 / np.maximum(lengths, 1e-12), 0)) @ rows, dtype=np.float32)


def _files(model: Int8Baseline) -> dict[str, bytes]:
    arrays = {"idf": model.idf, "weights": model.weights, "scales": model.scales, "bias": model.bias}
    parts = [zlib.compress(part, 9) for part in ("\n".join(model.vocabulary).encode(), save_arrays(arrays))]
    digests = [hashlib.sha256(part).hexdigest() for part in parts]
    card = json.dumps(_FORMAT | {"strength": model.strength, "rare": model.rare, "sha256": digests}, indent=1)
    return dict(zip(INT8_FILES, [*parts, card.encode()], strict=True))
