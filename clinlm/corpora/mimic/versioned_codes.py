"""The codes of MIMIC-IV, some in ICD-9 and some in ICD-10: kept apart, or mapped to one version."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import polars as pl

from clinlm.config.errors import DataError
from clinlm.corpora.base import count_dropped, count_notice
from clinlm.corpora.mimic.equivalence import read_equivalences
from clinlm.corpora.mimic.icd9 import normalize_icd9
from clinlm.corpora.mimic.mimic4 import scan_table4
from clinlm.files.pandas_values import non_missing, require_whole_numbers, whole_number

Versions = Literal["apart", "icd9", "icd10"]
"""`apart` prefixes every label by its version; the others map the codes of the other version to this one."""

_SHAPES: Final = {
    "diagnoses_icd": (r"^[A-Z]\d[0-9A-Z]{1,5}$", "a letter, a digit and one to five more (I509)"),
    "procedures_icd": (r"^[0-9A-HJ-NP-Z]{7}$", "seven letters and digits without I and O (02HV33Z)"),
}
"""Table -> what a code of ICD-10-CM or ICD-10-PCS looks like, without its dot."""


def versioned_codes(root: Path, table: str, versions: Versions, gem: Path | None) -> tuple[pl.DataFrame, list[str]]:
    """Return HADM_ID and `code` of every row of `table`, cut, each once per admission, in the table's order.

    ICD-9 is cut as by `outcome_labels.short_codes` (diagnoses with V or E to 4 characters, all else to 3), ICD-10 to 3:
    the category of a diagnosis; section, body system and operation of a procedure. `apart` writes `icd9:` or `icd10:`
    before it. A code that is mapped is mapped whole, then cut; one without a target is dropped.

    Args:
        root: as `mimic4.table4_path`.
        table: `diagnoses_icd` or `procedures_icd`.
        versions: see `Versions`.
        gem: the mapping of the other version's codes of this table to this one's; None for `apart`.

    Raises:
        DataError: hadm_id, subject_id or icd_version is not as in MIMIC-IV, an admission has several patients, a code
            has lost zeros or is none of its version, or the mapping knows none of the codes.
    """
    names = ["SUBJECT_ID", "HADM_ID", "ICD_CODE", "ICD_VERSION"]
    rows = scan_table4(root, table, names).collect(engine="streaming").rename(str.lower)
    numbers = ("subject_id", "hadm_id", "icd_version")
    for column in numbers:
        require_whole_numbers(rows, column, table)
    rows = rows.select(
        *(whole_number(name).alias(name.upper()) for name in numbers), non_missing("icd_code").alias("code")
    )
    coded = rows.drop_nulls("code")
    people = coded.drop_nulls().select("HADM_ID", "SUBJECT_ID").unique()
    if people["HADM_ID"].is_duplicated().any():
        raise DataError(f"an admission must have one subject_id, but some have several in {table}; repair it")
    strange = coded.filter(~pl.col("ICD_VERSION").is_in([9, 10]).fill_null(False)).height
    if strange:
        raise DataError(f"icd_version must be 9 or 10, {table} has {strange:,} rows with something else; repair it")
    normal, notices = _normalized(coded, table)
    notices = [*count_dropped(rows, coded, f"rows of {table} dropped: no icd_code"), *notices]
    if versions != "apart":
        assert gem is not None
        normal, told = _mapped(normal, 9 if versions == "icd9" else 10, gem)
        notices += told
    cut = normal.with_columns(pl.col("code").str.slice(0, _kept(table)))
    if versions == "apart":
        cut = cut.with_columns(pl.format("icd{}:{}", "ICD_VERSION", "code").alias("code"))
    stay = pl.when(pl.col("SUBJECT_ID").is_not_null()).then("HADM_ID").alias("HADM_ID")
    return cut.unique(["HADM_ID", "code"], keep="first", maintain_order=True).select(stay, "code"), notices


def _kept(table: str) -> pl.Expr:
    """Return the characters of a code to keep."""
    longer = (pl.col("ICD_VERSION") == 9) & pl.col("code").str.contains("^[VE]") & (table == "diagnoses_icd")
    return pl.when(longer).then(4).otherwise(3)


def _normalized(coded: pl.DataFrame, table: str) -> tuple[pl.DataFrame, list[str]]:
    """Return the rows with codes as in PhysioNet's files, and notices."""
    coded = coded.with_row_index("place")
    old, new = (coded.filter(pl.col("ICD_VERSION") == version) for version in (9, 10))
    nine, notices = normalize_icd9(old["code"], table, column="icd_code")
    plain = new["code"].str.replace_all(r"[\s.]", "").str.to_uppercase()
    shape, words = _SHAPES[table]
    wrong = int((~plain.str.contains(shape)).sum())
    if wrong:
        raise DataError(
            f"codes of ICD-10 in {table} must be {words}, {wrong:,} of {new.height:,} are not (saved as numbers, they "
            "lose zeros; is icd_version right?); restore PhysioNet's file"
        )
    changed = int((plain != new["code"]).sum())
    notices += count_notice(changed, new.height, f"codes of ICD-10 in {table} rewritten: without dot, in capitals")
    both = pl.concat([old.with_columns(nine.alias("code")), new.with_columns(plain.alias("code"))])
    return both.sort("place").drop("place"), notices


def _mapped(coded: pl.DataFrame, version: int, gem: Path) -> tuple[pl.DataFrame, list[str]]:
    """Return the rows with every code in `version`, and notices."""
    table, doubts = read_equivalences(gem)
    other = coded.filter(pl.col("ICD_VERSION") != version)["code"].unique()
    _check_direction(other.to_list(), table, version, gem)
    targets: Mapping[str, Sequence[str]] = {code: table.get(code, ()) for code in other}
    taken = pl.DataFrame(
        {"code": list(targets), "targets": [list(found) for found in targets.values()]},
        schema={"code": pl.String, "targets": pl.List(pl.String)},
    ).with_columns(pl.lit(19 - version, dtype=pl.Int64).alias("ICD_VERSION"))
    joined = coded.join(taken, on=["code", "ICD_VERSION"], how="left", maintain_order="left")
    own = pl.when(pl.col("ICD_VERSION") == version).then(pl.concat_list("code")).otherwise("targets")
    found = joined.with_columns(own.alias("code"), pl.lit(version, dtype=pl.Int64).alias("ICD_VERSION"))
    kept = found.filter(pl.col("code").list.len() > 0)
    name = f"ICD-{19 - version}"
    mapped = coded.filter(pl.col("ICD_VERSION") != version)
    chosen = mapped.filter(pl.col("code").is_in(list(doubts))).height
    return kept.explode("code").drop("targets"), [
        *count_notice(mapped.height, coded.height, f"codes mapped from {name} to ICD-{version} by {gem.name}"),
        *count_dropped(found, kept, f"codes dropped: {gem.name} has no target of theirs"),
        *count_notice(chosen, mapped.height, f"mapped codes have several targets in {gem.name}: the first was taken"),
    ]


def _check_direction(codes: Sequence[str], table: Mapping[str, object], version: int, gem: Path) -> None:
    if codes and not any(code in table for code in codes):
        raise DataError(
            f"gem must map ICD-{19 - version} to ICD-{version}, {gem.name} has none of the {len(codes):,} codes of "
            f"ICD-{19 - version}; set it to the file of this direction, of diagnoses or of procedures"
        )
