"""ICD-9 codes of tables that other tools have saved again: dots, lower case, lost leading zeros."""

import polars as pl

from clinlm.config.errors import DataError
from clinlm.corpora.base import count_notice, count_notices

_LETTER = r"^(?i)[ev]\d"
_DOTTED = r"^(?i)[ev]?\d{1,3}\.\d{0,2}$"
"""Matches a code with a dot after its category (`V30.00`, `E849.0`, `38.9`, `V30.`), but no number such as 4019.0."""
_CATEGORY_DIGITS = {"DIAGNOSES_ICD": 3, "PROCEDURES_ICD": 2}
_MANY = 100
"""Distinct numeric codes among which PhysioNet's tables always have some that begin with 0."""


def normalize_icd9(
    codes: pl.Series, table: str, lenient: bool = False, column: str = "ICD9_CODE"
) -> tuple[pl.Series, list[str]]:
    """Return ICD-9 codes as in PhysioNet's tables (no dot, capitals, all zeros), and a notice per kind of change.

    A dot marks the end of the category, so zeros that a dotted code lost are restored with certainty (`38.9` is 0389).
    Without a dot they cannot be (042 and 0042 both become 42).

    Args:
        codes: as in the table, null where missing.
        table: `DIAGNOSES_ICD` or `PROCEDURES_ICD`, in any case.
        lenient: keep what is not certain, and spaces, for published definitions that read codes as numbers.
        column: of the table, for messages.

    Raises:
        DataError: not if `lenient`: codes without a dot are shorter than a category, or are numbers with a fraction.
    """
    text = codes.str.strip_chars()
    frame = pl.DataFrame({"code": text})
    code, width = pl.col("code"), _CATEGORY_DIGITS[table.upper()]
    dotted = code.str.contains(_DOTTED).fill_null(False)
    number = code.str.contains(r"^\d+$").fill_null(False)
    capitals = pl.when(code.str.contains(_LETTER)).then(code.str.to_uppercase()).otherwise(code)
    category, rest = capitals.str.extract(r"^(\w+)\."), capitals.str.extract(r"\.(\d*)$")
    filled = pl.when(category.str.contains(r"^\d")).then(category.str.zfill(width)).otherwise(category)
    has_dots = bool(frame.select(dotted.any()).item())
    short = number & (code.str.len_chars() < width)
    restored = pl.when(short).then(code.str.zfill(width)).otherwise(capitals) if has_dots else capitals
    result = frame.select(pl.when(dotted).then(filled + rest).otherwise(restored).alias("code"))["code"]
    changed = int((result != text).sum())
    lost = int(frame.select(short.sum()).item()) if not has_dots else 0
    fractions = int(frame.select(code.str.contains(r"^\d{4,}\.\d*$").sum()).item() or 0)
    if not lenient and (lost or fractions):
        raise DataError(
            f"{column} must be text with its leading zeros, {table} has {lost:,} codes of fewer than {width} digits "
            f"and {fractions:,} with a fraction; it was saved as numbers (042 and 0042 both become 42): restore "
            "PhysioNet's file"
        )
    total = codes.len() - codes.null_count()
    if lenient:
        result = pl.select(pl.when(result == text).then(codes).otherwise(result).alias("code"))["code"]
    return result, [
        *count_notice(changed, total, f"codes of {table} rewritten: without dot, in capitals, zeros restored"),
        *count_notice(lost, total, f"codes of {table} have fewer than {width} digits: leading zeros were lost"),
        *_doubts(result, table),
    ]


def _doubts(codes: pl.Series, table: str) -> list[str]:
    """Return notices on codes that may have lost their leading zero, which their form does not show."""
    distinct = codes.drop_nulls().str.strip_chars().unique()
    numbers = distinct.filter(distinct.str.contains(r"^\d+$"))
    twins = len({f"0{number}" for number in numbers} & set(numbers))
    missing = numbers.len() if numbers.len() >= _MANY and not numbers.str.starts_with("0").any() else 0
    return count_notices(
        [
            (
                twins,
                f"codes of {table} also occur with a leading zero (389 and 0389): if zeros were lost, they are one",
            ),
            (missing, f"numeric codes of {table}, none of which begins with 0: leading zeros may be lost"),
        ]
    )
