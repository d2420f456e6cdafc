"""Disagreements of a compressed model with its original: a listing, and systematic patterns.

Documents of one group (patient) are not independent. Shares and ratios are of all documents, but the tests use one
random document per group. Where groups have several, this is repeated `DRAWS` times and p is twice the median over the
draws, which holds its level under any dependence of the draws (Meinshausen, Meier & Buehlmann 2009, equation 2.2 with
gamma = 1/2).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, final

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int, Shaped

from clinlm.metrics.agreement import Decisions
from clinlm.metrics.bootstrap import Groups
from clinlm.metrics.exact_tests import controlled, hypergeometric_tail, poisson_binomial_tail

Masks = Bool[np.ndarray, "features documents"]

SYSTEMATIC: Final = 0.05
"""Adjusted p below which a pattern is systematic."""

DRAWS: Final = 25
"""Random choices of one document per group, where groups have several."""


@final
@dataclass(frozen=True)
class Feature:
    """A property of documents.

    Attributes:
        name: `length`, `section`, or an attribute.
        value: such as "0-17"; never text of a note.
        has: whether each document has the property.
    """

    name: str
    value: str
    has: Bool[np.ndarray, " documents"]


@final
@dataclass(frozen=True)
class Pattern:
    """Disagreement by one value of one feature.

    Attributes:
        feature: name of the feature; `label` for the label decided otherwise.
        value: of the feature.
        documents: number that have it; all for a label.
        inside: share of these with a disagreement in any label (for a label: in this one).
        outside: the same for the other documents (for a label: the mean over the other labels).
        ratio: inside / outside, the risk ratio; infinite where outside is 0.
        p: one-sided, of the hypothesis inside <= outside.
        adjusted_p: adjusted by Benjamini & Hochberg (1995) over all tests.
    """

    feature: str
    value: str
    documents: int
    inside: float
    outside: float
    ratio: float
    p: float
    adjusted_p: float

    @property
    def systematic(self) -> bool:
        """Whether the pattern is unlikely to be chance."""
        return self.adjusted_p < SYSTEMATIC


def patterns(
    differs: Bool[np.ndarray, "documents labels"],
    labels: Sequence[str],
    features: Sequence[Feature],
    groups: Groups | None = None,
    minimum_documents: int = 5,
    seed: int = 0,
) -> list[Pattern]:
    """Test every label and feature for more disagreement than elsewhere.

    A feature is tested by the one-sided exact test of Fisher. A label is tested within documents: given the number of
    disagreements of a document, each of its labels is equally likely to disagree, so the count per label is Poisson
    binomial. (Fisher's test over cells would assume that the labels of a document are independent.)

    Args:
        differs: whether the two models disagree on a label of a document.
        labels: names of the columns.
        features: to test; skipped if fewer documents than the minimum have or lack it.
        groups: of each document, see the module; None where documents are independent.
        minimum_documents: see `features`; independent of decisions, so it biases nothing.
        seed: of the draws.

    Returns:
        one pattern per label and feature tested, sorted by adjusted p, then p.

    Raises:
        ValueError: labels, features or groups do not fit the documents.
    """
    _check(differs, labels, features, groups)
    outcome = np.asarray(differs.any(axis=1))
    least = max(1, minimum_documents)
    tested = [own for own in features if least <= int(own.has.sum()) <= len(differs) - least]
    found = [_of_feature(feature, outcome) for feature in tested]
    found += [_of_label(differs, place, str(name)) for place, name in enumerate(labels) if len(labels) > 1]
    if not found:
        return []
    masks = np.stack([feature.has for feature in tested]) if tested else np.zeros((0, len(differs)), dtype=bool)
    p = np.array([_tests(differs[drawn], masks[:, drawn]) for drawn in _draws(len(differs), groups, seed)])
    combined = p[0] if len(p) == 1 else np.minimum(1.0, 2 * np.median(p, axis=0))
    adjusted = controlled(combined)
    values = zip(found, combined.tolist(), adjusted.tolist(), strict=True)
    return sorted((replace(own, p=p, adjusted_p=q) for own, p, q in values), key=lambda own: (own.adjusted_p, own.p))


def listing(
    ids: pl.Series, targets: Bool[np.ndarray, "documents labels"], a: Decisions, b: Decisions, labels: Sequence[str]
) -> pl.DataFrame:
    """Return one row per label of a document on which the two models disagree.

    Documents have the ids of the user's file, so that they can be read there. An id may identify a patient: the listing
    is for a local file only, and has no text.

    Args:
        ids: of the documents.
        targets: the true labels.
        a: decisions of the original.
        b: decisions of the compressed model.
        labels: names of the columns.

    Returns:
        columns id, label, truth, original, compressed (booleans), in the order of documents.
    """
    documents, places = np.nonzero(a != b)
    return pl.DataFrame(
        {
            "id": ids.gather(documents),
            "label": [labels[place] for place in places.tolist()],
            "truth": np.asarray(targets, dtype=bool)[documents, places],
            "original": a[documents, places],
            "compressed": b[documents, places],
        },
        schema_overrides={"label": pl.String},
    )


def length_bands(lengths: Shaped[np.ndarray, " documents"], unit: str) -> list[Feature]:
    """Return the quartiles of the documents by length; fewer where many have one length.

    Args:
        lengths: of every document, whole numbers.
        unit: of them, such as `tokens`.
    """
    cuts = np.unique(np.floor(np.quantile(lengths, (0.25, 0.5, 0.75))).astype(int))
    band = np.searchsorted(cuts, lengths, side="left")
    names = [f"{first + 1} to {last} {unit}" for first, last in zip(cuts, cuts[1:], strict=False)]
    names = [f"up to {cuts[0]} {unit}", *names, f"above {cuts[-1]} {unit}"]
    return [Feature("length", name, band == place) for place, name in enumerate(names) if (band == place).any()]


def value_features(name: str, subgroups: Shaped[np.ndarray, " documents"]) -> list[Feature]:
    """Return a feature for every subgroup of an attribute."""
    return [Feature(name, str(value), subgroups == value) for value in np.unique(subgroups)]


def mask_features(name: str, masks: Mapping[str, Bool[np.ndarray, " documents"]]) -> list[Feature]:
    """Return a feature for every mask, such as those of `clinlm.text.sections.section_masks`."""
    return [Feature(name, value, has) for value, has in masks.items()]


def _check(differs: Decisions, labels: Sequence[str], features: Sequence[Feature], groups: Groups | None) -> None:
    if differs.ndim != 2 or 0 in differs.shape or differs.shape[1] != len(labels):
        raise ValueError(
            f"differs must be documents x labels, neither side 0, got {differs.shape} for {len(labels)} labels"
        )
    shapes = [feature.has.shape for feature in features] + ([] if groups is None else [groups.shape])
    if any(shape != (len(differs),) for shape in shapes):
        raise ValueError(
            f"features and groups must have one value per document, got {shapes} for {len(differs)} documents"
        )


def _of_feature(feature: Feature, outcome: Bool[np.ndarray, " documents"]) -> Pattern:
    inside, outside = float(outcome[feature.has].mean()), float(outcome[~feature.has].mean())
    documents = int(feature.has.sum())
    return Pattern(feature.name, feature.value, documents, inside, outside, _ratio(inside, outside), 1.0, 1.0)


def _of_label(differs: Decisions, place: int, name: str) -> Pattern:
    rates = differs.mean(axis=0)
    inside, outside = float(rates[place]), float(np.delete(rates, place).mean())
    return Pattern("label", name, len(differs), inside, outside, _ratio(inside, outside), 1.0, 1.0)


def _ratio(inside: float, outside: float) -> float:
    if outside:
        return inside / outside
    return float("inf") if inside else float("nan")


def _draws(documents: int, groups: Groups | None, seed: int) -> list[Int[np.ndarray, " drawn"]]:
    """Draw one document per group, `DRAWS` times; return all documents once if no group has several."""
    member = np.arange(documents) if groups is None else np.unique(groups, return_inverse=True)[1]
    if len(np.unique(member)) == documents:
        return [np.arange(documents)]
    rng = np.random.default_rng(seed)
    orders = (rng.permutation(documents) for _ in range(DRAWS))
    return [order[np.unique(member[order], return_index=True)[1]] for order in orders]


def _tests(differs: Decisions, has: Masks) -> Float[np.ndarray, " tests"]:
    """Return the one-sided p of every feature, then of every label, on independent documents."""
    outcome = np.asarray(differs.any(axis=1))
    both = (has & outcome).sum(axis=1)
    features = hypergeometric_tail(both, len(outcome), int(outcome.sum()), has.sum(axis=1))
    if differs.shape[1] == 1:
        return np.asarray(features)
    labels = poisson_binomial_tail(differs.sum(axis=0), differs.mean(axis=1))
    return np.asarray(np.clip(np.concatenate([features, labels]), 0.0, 1.0))
