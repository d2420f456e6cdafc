"""Quality by subgroup before and after compression, and the gap between best and worst subgroup.

A macro mean counts a label without positives as 0, so a subgroup without a rare label would look worse. Macro metrics
are therefore averaged over the labels with a positive and a negative document in each counted subgroup
(`Fairness.labels`); in a small subgroup or a resample, over those of them that have a positive there.

The gap, best minus worst, is never negative, and noise widens it, most for small subgroups. Its intervals are cautious
(`Interval.cautious`) and reach 0 where noise explains the gap. In difference and ratio most noise is common to both
models and cancels; they have percentile intervals. The rest biases the ratio towards 1, most where the gap before is
within noise: judge by the difference there. Best and worst subgroup are determined in every resample; resamples that
lack a counted subgroup are left out.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal, final

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int, Shaped

from clinlm.config.errors import ConfigError
from clinlm.metrics.bootstrap import Groups, Interval, Values, Weights, resample
from clinlm.metrics.classification import METRICS, Targets, count_scores, decide, weighted_quality
from clinlm.metrics.decisions import Probabilities, Thresholds

Subgroups = Shaped[np.ndarray, " documents"]
"""The subgroup of every document as a string; `UNKNOWN` where the attribute is missing."""

UNKNOWN: Final = "unknown"
"""Subgroup of documents without the attribute: listed, never in the gap."""

TINY: Final = 0.005
"""Smallest gap in a ratio, half a point, lest it divide by noise."""

BANDS: Final = ((0, "0-17"), (18, "18-44"), (45, "45-64"), (65, "65-79"), (80, "80+"))
"""First year of every age band, and its name."""

MISSING: Final = (
    "",
    "?",
    "n/a",
    "not specified",
    "patient declined to answer",
    "unable to obtain",
    "unknown",
    "unknown/not specified",
)
"""Values that mean missing, in lower case."""

LARGE: Final = 0.05
"""Values with this share of the documents must cover half of the known ones, or the attribute makes no subgroups."""

_YEARS = r"^\s*(\d{1,3})(?:\.\d+)?\s*\+?\s*$"
_FINER = re.compile(r"\s+-\s+|/|\s+OR\s+", re.IGNORECASE)

KEYWORDS_ATTRIBUTE: Final = "keywords"
"""Attribute with the labels whose words occur in the text, asserted or not, separated by `;`."""

_MACRO: Final = ("macro_precision", "macro_recall", "macro_f1")

Standing = Literal["counted", "small", "unknown"]


@final
@dataclass(frozen=True)
class Subgroup:
    """Quality on the documents of one subgroup.

    Attributes:
        documents: number of them.
        standing: `counted` in the gap; `small` (fewer documents than the minimum) or `unknown`: listed only.
        original: quality of the original, in [0, 1]; NaN where undefined.
        compressed: of the compressed model.
    """

    name: str
    documents: int
    standing: Standing
    original: Interval
    compressed: Interval


@final
@dataclass(frozen=True)
class Fairness:
    """Gaps between the subgroups of one attribute before and after compression.

    The four numbers are NaN where fewer than two subgroups are counted.

    Attributes:
        metric: key of METRICS.
        labels: columns that the metric averages over; see the module.
        subgroups: most documents first.
        before: gap of the original, best minus worst of the subgroups counted, in [0, 1].
        after: gap of the compressed model.
        difference: after - before, paired; above 0 where compression widens the gap.
        ratio: after / before, paired, each gap at least TINY.
    """

    metric: str
    labels: tuple[int, ...]
    subgroups: tuple[Subgroup, ...]
    before: Interval
    after: Interval
    difference: Interval
    ratio: Interval


def gaps(
    targets: Targets,
    a_probabilities: Probabilities,
    a_thresholds: Thresholds,
    b_probabilities: Probabilities,
    b_thresholds: Thresholds,
    subgroups: Subgroups,
    metric: str = "macro_f1",
    minimum_documents: int = 30,
    resamples: int = 1000,
    seed: int = 0,
    groups: Groups | None = None,
) -> Fairness:
    """Compare the quality of original and compressed model within the subgroups of one attribute; see the module.

    Args:
        targets: as in `quality`.
        a_probabilities: of the original.
        a_thresholds: of the original.
        b_probabilities: of the compressed model.
        b_thresholds: of the compressed model.
        subgroups: of every document.
        metric: key of METRICS.
        minimum_documents: of a counted subgroup.
        resamples, seed, groups: as in `clinlm.metrics.bootstrap.intervals`; groups are drawn, not compared.

    Raises:
        ValueError: as in `quality` and `draw`; unknown metric, or not one subgroup per document.
    """
    if metric not in METRICS:
        raise ConfigError(f"metric must be one of {', '.join(METRICS)}, got {metric!r}")
    if subgroups.shape != (len(targets),) or minimum_documents < 1:
        raise ConfigError(
            f"every document needs one subgroup, and minimum_documents must be at least 1, got {subgroups.shape} "
            f"subgroups for {len(targets)} documents, and minimum_documents={minimum_documents}"
        )
    names, member, sizes = np.unique(subgroups.astype(str), return_inverse=True, return_counts=True)
    standing = [_standing(name, size, minimum_documents) for name, size in zip(names, sizes.tolist(), strict=True)]
    counted = [place for place, own in enumerate(standing) if own == "counted"]
    columns = _columns(np.asarray(targets, dtype=bool), metric, [member == place for place in counted])
    rows = resample(len(targets), resamples, seed, groups)
    a, b = (
        _by_subgroup(targets, probabilities, thresholds, metric, columns, member, rows)
        for probabilities, thresholds in ((a_probabilities, a_thresholds), (b_probabilities, b_thresholds))
    )
    listed = [
        Subgroup(str(names[p]), int(sizes[p]), standing[p], Interval.percentile(a[p]), Interval.percentile(b[p]))
        for p in np.argsort(-sizes, kind="stable")
    ]
    return Fairness(metric, tuple(columns.tolist()), tuple(listed), *_compared(_gap(a[counted]), _gap(b[counted])))


def _standing(name: str, documents: int, minimum: int) -> Standing:
    if name == UNKNOWN:
        return "unknown"
    return "small" if documents < minimum else "counted"


def _columns(
    truth: Bool[np.ndarray, "documents labels"], metric: str, counted: list[Bool[np.ndarray, " documents"]]
) -> Int[np.ndarray, " columns"]:
    """Return the labels of a metric: all, or for a macro mean those defined in every counted subgroup."""
    if not metric.startswith("macro_"):
        return np.arange(truth.shape[1])
    defined = [truth[own].any(axis=0) & ~truth[own].all(axis=0) for own in counted]
    return np.flatnonzero(np.all(defined, axis=0)) if defined else np.arange(truth.shape[1])


def _by_subgroup(
    targets: Targets,
    probabilities: Probabilities,
    thresholds: Thresholds,
    metric: str,
    columns: Int[np.ndarray, " columns"],
    member: Int[np.ndarray, " documents"],
    rows: Weights,
) -> Float[np.ndarray, "subgroups rows"]:
    """Return the metric of every subgroup and row of weights; NaN where none of its documents was drawn."""
    found = np.full((int(member.max()) + 1, len(rows)), np.nan)
    decisions, truth = decide(targets, probabilities, thresholds), np.asarray(targets, dtype=bool)
    for place in range(len(found)):
        own = member == place
        drawn = rows[:, own].any(axis=1)
        chosen, counts = np.ix_(own, columns), rows[np.ix_(drawn, own)]
        if not len(columns):
            continue
        if metric in _MACRO:
            found[place, drawn] = _macro(truth[chosen], decisions[chosen], counts, metric)
        elif metric.endswith(("auroc", "auprc")):
            cut = np.full(len(columns), 0.5)
            found[place, drawn] = weighted_quality(truth[chosen], probabilities[chosen], cut, counts)[metric]
        elif metric.startswith(("micro_", "weighted_")):
            found[place, drawn] = _counted(truth[chosen], decisions[chosen], counts, metric)
        else:
            # Decisions as scores leave nothing to rank: ten times faster.
            decided = None if thresholds is None else np.full(len(columns), 0.5)
            scores = decisions[chosen].astype(np.float64)
            found[place, drawn] = weighted_quality(truth[chosen], scores, decided, counts)[metric]
    return found


def _macro(
    truth: Bool[np.ndarray, "documents labels"],
    decisions: Bool[np.ndarray, "documents labels"],
    rows: Weights,
    metric: str,
) -> Values:
    """Return mean precision, recall or F1 over the labels with a positive in the row; NaN where none has."""
    hit, decided, support = (rows @ cells.astype(np.float64) for cells in (truth & decisions, decisions, truth))
    part, whole = {
        "macro_precision": (hit, decided),
        "macro_recall": (hit, support),
        "macro_f1": (2 * hit, decided + support),
    }[metric]
    scores = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    present = support > 0
    labels = present.sum(axis=1)
    total = (scores * present).sum(axis=1)
    return np.asarray(np.divide(total, labels, out=np.full(len(rows), np.nan), where=labels > 0))


def _counted(
    truth: Bool[np.ndarray, "documents labels"],
    decisions: Bool[np.ndarray, "documents labels"],
    rows: Weights,
    metric: str,
) -> Values:
    """Return micro or weighted precision, recall or F1: counts are enough, for micro ones those of all labels together.

    Whole numbers: their sums are the same in any order.
    """
    cells = [truth & decisions, ~truth & decisions, truth & ~decisions]
    if metric.startswith("micro_"):
        cells = [own.sum(axis=1, keepdims=True) for own in cells]
    hit, extra, missed = (rows @ own.astype(np.float64) for own in cells)
    return count_scores(hit, extra, missed)[metric]


def _gap(values: Float[np.ndarray, "counted rows"]) -> Values:
    if len(values) < 2:
        return np.full(values.shape[1], np.nan)
    return np.asarray(values.max(axis=0) - values.min(axis=0))


def _compared(before: Values, after: Values) -> tuple[Interval, Interval, Interval, Interval]:
    ratio = np.maximum(after, TINY) / np.maximum(before, TINY)
    both = Interval.cautious(before), Interval.cautious(after)
    return *both, Interval.percentile(after - before), Interval.percentile(ratio)


def subgroups(attributes: pl.Series) -> tuple[dict[str, Subgroups], list[str]]:
    """Return the subgroup of every document, by attribute, and notices of what cannot be compared.

    - `age` in years ("71", "90+") becomes `age_band` (`BANDS`). An `age` with any other value stays as it is.
    - `ethnicity` is cut before its finer part: MIMIC-III's 41 values, such as "ASIAN - CHINESE", "BLACK/HAITIAN" or
      "HISPANIC OR LATINO", are reduced to their first words.
    - A missing value, or one of `MISSING`, is `UNKNOWN`.
    - Left out: attributes missing everywhere, the words of labels, and what looks like numbers or free text: fewer than
      5 documents a value, or fewer than half of the known documents in values of `LARGE` or more. These are no groups
      of people, and they may identify.

    Args:
        attributes: column `attributes` of `Examples.frame`, a struct of strings.

    Returns:
        strings, one a document, by name of the attribute; and notices that name attributes, never values.
    """
    found: dict[str, Subgroups] = {}
    notices: list[str] = []
    for field in attributes.struct.fields if isinstance(attributes.dtype, pl.Struct) else []:
        column = attributes.struct.field(field).cast(pl.String)
        if field == KEYWORDS_ATTRIBUTE or column.null_count() == len(column):
            continue
        name, values = _grouped(field, column)
        sizes = values.filter(values != UNKNOWN).value_counts()["count"]
        if not len(sizes):
            continue
        count, large = len(sizes), sizes.filter(sizes >= LARGE * len(values))
        if count > max(2, len(values) // 5) or 2 * large.sum() < sizes.sum():
            notices.append(f"attribute {name} makes no subgroups: {count:,} values in {len(values):,} documents")
            continue
        found[name] = values.to_numpy().astype(str)
    return found, notices


def _grouped(field: str, column: pl.Series) -> tuple[str, pl.Series]:
    text = column.str.strip_chars()
    known = text.set(text.str.to_lowercase().is_in(MISSING), None)
    if field == "age" and known.drop_nulls().str.contains(_YEARS).all():
        years = known.str.extract(_YEARS).cast(pl.Int32)
        places = np.searchsorted([first for first, _ in BANDS], years.fill_null(0).to_numpy(), side="right") - 1
        bands = pl.Series([BANDS[place][1] for place in places.tolist()], dtype=pl.String)
        return "age_band", bands.set(years.is_null(), UNKNOWN)
    if field == "ethnicity":
        known = pl.Series([None if value is None else _FINER.split(value)[0] for value in known], dtype=pl.String)
    return field, known.fill_null(UNKNOWN)
