"""Ages as MIMIC-III lets one know them."""

import polars as pl

OLDEST_YEARS = 90
"""MIMIC-III moves the birth of everyone older than 89 back by 300 years, so every age from here on reads "90+"."""


def completed_years(born: pl.Expr, moment: pl.Expr) -> pl.Expr:
    """The age at `moment` in completed years as text, from `OLDEST_YEARS` on "90+"; null before the birth.

    Args:
        born: dates.
        moment: dates.
    """
    birthday_to_come = moment.dt.strftime("%m%d") < born.dt.strftime("%m%d")
    years = moment.dt.year() - born.dt.year() - birthday_to_come.cast(pl.Int32)
    oldest = pl.lit(f"{OLDEST_YEARS}+")
    return pl.when(years >= OLDEST_YEARS).then(oldest).when(years >= 0).then(years.cast(pl.String))
