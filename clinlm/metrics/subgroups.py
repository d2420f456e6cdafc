"""From the attributes of records to subgroups that may be compared: age bands, broad ethnicities, what is missing."""

import re
from typing import Final

import numpy as np
import polars as pl

from clinlm.metrics.fairness import UNKNOWN, Subgroups
from clinlm.metrics.keywords import ATTRIBUTE

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
"""Values, in lower case, that say that nobody knows."""

LARGE: Final = 0.05
"""Values of this share of the documents must hold half of those known, or the attribute makes no subgroups."""

_YEARS = r"^\s*(\d{1,3})(?:\.\d+)?\s*\+?\s*$"
_FINER = re.compile(r"\s+-\s+|/|\s+OR\s+", re.IGNORECASE)


def subgroups(attributes: pl.Series) -> tuple[dict[str, Subgroups], list[str]]:
    """Return the subgroup of every document, by attribute, and notices of what cannot be compared.

    - `age` in years ("71", "90+") becomes `age_band` (`BANDS`). An `age` with any other value stays as it is.
    - `ethnicity` is cut before its finer part: MIMIC-III's 41 values, such as "ASIAN - CHINESE", "BLACK/HAITIAN" or
      "HISPANIC OR LATINO", are told by their first words.
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
        if field == ATTRIBUTE or column.null_count() == len(column):
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
