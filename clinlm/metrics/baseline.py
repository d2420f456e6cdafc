"""Trivial baselines of every table: TF-IDF with one logistic regression per label, and keyword matching."""

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
from jaxtyping import Bool, Float, Float16, Float32, Float64, Int, Integer
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from clinlm.config.errors import DataError, MissingFileError
from clinlm.metrics.decisions import Probabilities, sigmoid
from clinlm.metrics.joint_regressions import FEW, JointRegressions
from clinlm.metrics.term_counter import TermCounter
from clinlm.metrics.term_model import CARD
from clinlm.store.content import write_files

if TYPE_CHECKING:  # answering must not import them
    from scipy.sparse import sparray, spmatrix

    from clinlm.metrics.classification import Targets

Weights = Float32[np.ndarray, "labels terms"] | Float16[np.ndarray, "labels terms"]
ValidationTargets = Integer[np.ndarray, "validation labels"] | Bool[np.ndarray, "validation labels"]

STRENGTHS: Final = (1.0, 10.0, 100.0, 1000.0)
"""Values of C (inverse strength of the L2 penalty) tried on validation."""

FEATURES: Final = 200_000
"""Most frequent terms kept at most."""

FILES: Final = ("vocabulary.json", "weights.safetensors", CARD)
"""What a saved baseline consists of."""

_FORMAT: Final = {"format": "tfidf", "version": 1, "terms": "words and pairs of words", "coefficients": "float32"}
"""In the card: what the numbers are. Other terms or coefficients have other values, which `load` must know."""

_HALVES: Final = _FORMAT | {"coefficients": "float16 by term"}
"""The same for many labels: weights are terms x labels in half precision."""

MANY: Final = 50_000
_GATHERED: Final = 2**27
"""Most weights of which a copy is kept by terms, to answer without scipy."""

MANY_LABELS: Final = 500
"""From so many labels on regressions are fitted together; of more, settings are chosen by so many (`some_labels`)."""

_PART: Final = 2**23
"""Labels x documents fitted at once, where there are more documents than `FEW`: 32 MB, several times."""

SHORT: Final = 64
"""From `MANY` texts on, of fewer than `SHORT` different terms in the mean, the primal solver is the faster one."""


@final
class TfidfBaseline:
    """Words and word pairs weighted by TF-IDF, then one logistic regression per label.

    Terms of one and two words that occur in at least 2 training documents, lower-cased and without accents, with
    sublinear term frequency and rows of length 1. The vocabulary holds words of the training notes, on disk too,
    those of single patients among them: a saved baseline stays where the notes are; an `Int8Baseline` may be copied.

    Attributes:
        vocabulary: the terms, in the order of the columns.
        idf: inverse document frequency of every term.
        weights: of the logistic regressions, labels x terms; float16 where they were fitted together (`regressions`).
        bias: of the logistic regressions.
        strength: the C of `STRENGTHS` that was chosen.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        idf: Float32[np.ndarray, " terms"],
        weights: Weights,
        bias: Float32[np.ndarray, " labels"],
        strength: float,
    ) -> None:
        """Assemble from parts; use `fit` or `load`.

        Raises:
            ValueError: the parts do not fit each other.
        """
        if weights.shape != (len(bias), len(vocabulary)) or idf.shape != (len(vocabulary),):
            raise ValueError(
                f"weights must be labels x terms, got {weights.shape} for {len(bias)} labels, {len(vocabulary)} terms "
                f"and {len(idf)} idf values"
            )
        self.vocabulary, self.idf, self.weights, self.bias = tuple(vocabulary), idf, weights, bias
        self.strength = strength

    @classmethod
    def fit(
        cls,
        texts: Sequence[str],
        targets: "Targets",
        validation_texts: Sequence[str],
        validation_targets: ValidationTargets,
    ) -> "TfidfBaseline":
        """Fit on training documents, with the C of `STRENGTHS` that ranks the validation documents best.

        Best is the highest mean of micro and macro AUPRC: free of thresholds, and half of it counts every label
        equally; of more than `MANY_LABELS` labels it is that of `some_labels`, and the first C that is no better than
        the one before ends the search. liblinear's dual solver is used (on 1,600 documents about ten times faster than
        lbfgs, same quality); its penalty covers the bias too. Of very many short texts (`contexts` of words) its primal
        solver finds the same optimum sooner: with 119,000 words and 5 tags at C = 10 in 9 seconds instead of 19, at C =
        100 in 12 instead of minutes. A label that is constant in training gets the same probability everywhere,
        (positives + 1) / (documents + 2).

        Args:
            targets: 0/1 or bool, documents x labels.
            validation_texts: documents to choose C on.
            validation_targets: their labels.

        Raises:
            ValueError: texts and targets differ in length.
            DataError: no term occurs in two documents, or the validation targets are all equal.
        """
        _fits(texts, targets)
        _fits(validation_texts, validation_targets)
        terms, idf, rows = _terms(texts)
        best, highest, some = None, -math.inf, some_labels(targets)
        for strength, weights, bias in regressions(rows, targets[:, some], STRENGTHS):
            model = cls(terms, idf, weights, bias, strength)
            score = validation_ranking(model.probabilities(validation_texts), validation_targets[:, some])
            if best is None or score > highest:
                best, highest = model, score
            elif len(some) < targets.shape[1]:
                break
        assert best is not None, "strengths are tried"
        if len(some) == targets.shape[1]:
            return best
        strength = best.strength
        del best, model, weights  # a gigabyte, with what they answered by
        ((_, weights, bias),) = regressions(rows, targets, (strength,))
        return cls(terms, idf, weights, bias, strength)

    @classmethod
    def fit_at(cls, texts: Sequence[str], targets: "Targets", strength: float) -> "TfidfBaseline":
        """Fit on training documents with a given C. The rest as `fit`."""
        _fits(texts, targets)
        terms, idf, rows = _terms(texts)
        ((_, weights, bias),) = regressions(rows, targets, (strength,))
        return cls(terms, idf, weights, bias, strength)

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """Return the probability of every label for every text, in [0, 1], documents x labels."""
        return sigmoid(self.logits(texts))

    def logits(self, texts: Sequence[str]) -> Float64[np.ndarray, "documents labels"]:
        """Return the logit of every label for every text, documents x labels: `probabilities` are their sigmoid."""
        if self.weights.size > _GATHERED and self.weights.dtype == np.float32:
            return np.asarray(self.vectors(texts) @ self.weights.T + self.bias, dtype=np.float64)
        return np.asarray(self._counter.products(texts, self.idf, self._by_term) + self.bias)

    def vectors(self, texts: Sequence[str]) -> "spmatrix":
        """Return the weighted terms, documents x terms: rows of norm 1, or 0 for a text without a known term."""
        return self._vectorizer.transform(texts)

    @cached_property
    def _vectorizer(self) -> Any:
        made = _vectorizer({term: column for column, term in enumerate(self.vocabulary)})
        made.idf_ = self.idf
        return made

    @cached_property
    def _counter(self) -> TermCounter:
        return TermCounter(self.vocabulary)

    @cached_property
    def _by_term(self) -> Float32[np.ndarray, "terms labels"] | Float16[np.ndarray, "terms labels"]:
        kind = np.float32 if self.weights.size <= _GATHERED else self.weights.dtype  # float16 answers half as fast
        return np.ascontiguousarray(self.weights.T, dtype=kind)

    @property
    def parameters(self) -> int:
        """Weights, biases and idf values."""
        return self.weights.size + self.bias.size + self.idf.size

    @property
    def nonzero(self) -> int:
        """Parameters that are not 0."""
        return sum(int(np.count_nonzero(array)) for array in (self.weights, self.bias, self.idf))

    def save(self, folder: Path) -> None:
        """Write `FILES`: the terms, the numbers and, last, a card with the digests of the other two.

        The card also says how the numbers are stored. Every file is replaced atomically; a save cut short is found by
        `load`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        write_files(folder, _files(self))

    @classmethod
    def load(cls, folder: Path) -> "TfidfBaseline":
        """Read what `save` wrote.

        Raises:
            MissingFileError: a file is missing.
            DataError: a file is damaged, of another save, or of another version of clinlm.
        """
        contents = {name: read_part(folder / name) for name in (CARD, *FILES)}
        try:
            card = json.loads(contents.pop(CARD))
            kind = {name: card[name] for name in _FORMAT}
            known = kind in (_FORMAT, _HALVES)
            whole = card["sha256"] == {name: _digest(content) for name, content in contents.items()}
            vocabulary = json.loads(contents["vocabulary.json"])
            arrays = load_arrays(contents["weights.safetensors"])
            weights = arrays["weights"] if kind == _FORMAT else arrays["weights"].T
            strength = float(card["strength"])
        except (ValueError, KeyError, TypeError, SafetensorError):
            whole = known = False
        if not whole:
            raise DataError(f"files of a saved baseline must belong together, got others in {folder}; fit it again")
        if not known:
            raise DataError(
                f"a saved baseline must have the format of this version, {_FORMAT} (or {_HALVES['coefficients']}), got "
                f"another in {folder}; fit it again, or use the version of clinlm that wrote it"
            )
        return cls(vocabulary, arrays["idf"], weights, arrays["bias"], strength)


def _vectorizer(vocabulary: dict[str, int] | None) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(
        ngram_range=(1, 2),
        sublinear_tf=True,
        strip_accents="unicode",
        lowercase=True,
        dtype=np.float32,
        vocabulary=vocabulary,
        min_df=2,
        max_features=FEATURES,
    )


def _terms(texts: Sequence[str]) -> tuple[list[str], Float32[np.ndarray, " terms"], "spmatrix"]:
    """Return the vocabulary of training documents, the idf of its terms, and the documents weighted by it."""
    vectorizer = _vectorizer(None)
    try:
        rows = vectorizer.fit_transform(texts)
    except ValueError:
        # Its own message is dropped with its cause: it may quote the vocabulary, and so the notes.
        raise DataError(
            f"TF-IDF needs terms that occur in at least 2 training documents, got {len(texts)} documents that "
            "share none; use more documents"
        ) from None
    return vectorizer.get_feature_names_out().tolist(), vectorizer.idf_.astype(np.float32), rows


def regressions(
    rows: "sparray | spmatrix", targets: "Targets", strengths: Sequence[float]
) -> Iterator[tuple[float, Weights, Float32[np.ndarray, " labels"]]]:
    """Yield every strength, of ascending ones, with the weights and biases of one logistic regression a label.

    From `MANY_LABELS` labels on they are fitted together (`JointRegressions`), one strength starting from the one
    before. Weights are then float16, which moves logits by some thousandths (rows have length 1), and lie by term. They
    are not sparse: without small weights, or without terms that no positive of a label has, micro AUPRC is half a point
    lower on MTSamples. Of more than `FEW` documents a single strength is fitted to some labels after the others, and
    labels whose optimum is not reached in 20 steps stay before it: alone, each would take minutes.
    """
    documents, labels = targets.shape
    if labels < MANY_LABELS:
        for strength in strengths:
            yield strength, *fit_regressions(rows, targets, strength)
        return
    from scipy.sparse import csr_array

    few = documents <= FEW
    alone = (lambda own, strength: fit_regressions(rows, own, strength)) if few else None
    together = JointRegressions(csr_array(rows), alone)
    size = labels if few or len(strengths) > 1 else max(1, _PART // documents)
    if size >= labels:
        yield from _fitted_together(together, targets, strengths)
        return
    weights, biases = np.empty((rows.shape[1], labels), np.float16), np.empty(labels, np.float32)
    for at in range(0, labels, size):
        ((_, own, biases[at : at + size]),) = _fitted_together(together, targets[:, at : at + size], strengths)
        weights[:, at : at + size] = own.T
    yield strengths[0], weights.T, biases


def _fitted_together(
    together: JointRegressions, targets: "Targets", strengths: Sequence[float]
) -> Iterator[tuple[float, Weights, Float32[np.ndarray, " labels"]]]:
    documents, labels = targets.shape
    positives = targets.sum(axis=0)
    (varied,) = np.nonzero((positives > 0) & (positives < documents))
    constant = np.log((positives + 1) / (documents - positives + 1)).astype(np.float32)
    truth, duals = np.asarray(targets[:, varied], dtype=bool), np.zeros((labels, documents), np.float32)
    for strength in (*(lower for lower in STRENGTHS if lower < strengths[0]), *strengths):
        fitted = duals[varied]
        together.fit(truth, strength, fitted)
        duals[varied] = fitted
        if strength in strengths:
            weights, bias = together.weights(duals)
            bias = np.where(np.isin(np.arange(labels), varied), bias, constant)
            yield strength, weights.T, bias
            del weights


def fit_regressions(
    rows: "sparray | spmatrix", targets: "Targets", strength: float
) -> tuple[Float32[np.ndarray, "labels terms"], Float32[np.ndarray, " labels"]]:
    """Return weights and biases of one logistic regression a label, on weighted terms."""
    from sklearn.linear_model import LogisticRegression

    documents, labels = targets.shape
    weights, bias = np.zeros((labels, rows.shape[1]), np.float32), np.zeros(labels, np.float32)
    dual = documents < MANY or rows.nnz >= SHORT * documents
    for label in range(labels):
        positives = int(targets[:, label].sum())
        if positives in (0, documents):
            bias[label] = math.log((positives + 1) / (documents - positives + 1))
            continue
        model = LogisticRegression(C=strength, solver="liblinear", dual=dual, max_iter=10_000, random_state=0)
        model.fit(rows, np.asarray(targets[:, label], dtype=bool))
        weights[label], bias[label] = model.coef_[0], model.intercept_[0]
    return weights, bias


def some_labels(targets: "Targets") -> Int[np.ndarray, " some"]:
    """Return `MANY_LABELS` labels to choose settings by, from the most frequent to the rarest; all of fewer."""
    order = np.argsort(-targets.sum(axis=0), kind="stable")
    places = np.linspace(0, len(order) - 1, min(len(order), MANY_LABELS)).round().astype(np.int64)
    return np.sort(order[places])


def validation_ranking(probabilities: Probabilities, targets: "Targets") -> float:
    """Return the mean of micro and macro AUPRC, by which C is chosen on validation.

    Raises:
        DataError: the targets are all equal.
    """
    from clinlm.metrics.classification import quality  # here and below: it imports scipy

    values = quality(targets, probabilities, np.full(targets.shape[1], 0.5))
    defined = [values[name] for name in ("micro_auprc", "macro_auprc") if not math.isnan(values[name])]
    if not defined:
        raise DataError("choosing C needs validation labels that differ, got labels that are all equal")
    return sum(defined) / len(defined)


def _fits(texts: Sequence[str], targets: "Targets") -> None:
    if len(texts) != len(targets):
        raise ValueError(f"targets must be one row of targets a text, got {len(texts)} texts and {len(targets)} rows")
    from clinlm.metrics.classification import check_predictions

    check_predictions(targets, np.zeros(targets.shape))


def _files(baseline: TfidfBaseline) -> dict[str, bytes]:
    halves = baseline.weights.dtype == np.float16  # safetensors stores memory as it lies
    arrays = {"idf": baseline.idf, "weights": baseline.weights.T if halves else baseline.weights, "bias": baseline.bias}
    contents = (json.dumps(baseline.vocabulary, ensure_ascii=False).encode(), save_arrays(arrays))
    files = dict(zip(FILES, contents, strict=False))
    card = (_HALVES if halves else _FORMAT) | {
        "strength": baseline.strength,
        "sha256": {name: _digest(content) for name, content in files.items()},
    }
    return files | {CARD: json.dumps(card, indent=1).encode()}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def read_part(path: Path) -> bytes:
    """Return a file of a saved baseline.

    Raises:
        MissingFileError: there is none.
    """
    if not path.is_file():
        raise MissingFileError(f"a saved baseline must have a file {path.name}, got no {path}; fit it again")
    return path.read_bytes()


def keyword_matches(mentioned: Sequence[str | None], labels: Sequence[str]) -> Float[np.ndarray, "documents labels"]:
    """Return 1 where a label is among those mentioned, and 0 elsewhere.

    Args:
        mentioned: of every document, labels separated by `;`; None for none.
        labels: the columns.
    """
    found = [set((names or "").split(";")) for names in mentioned]
    return np.array([[float(label in own) for label in labels] for own in found]).reshape(len(found), len(labels))
