"""MIMIC-III: single notes of any category."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import final

import numpy as np
import polars as pl

from clinlm.config.errors import ConfigError, DataError
from clinlm.corpora.base import Corpus, Records, count_notices, digest_files
from clinlm.corpora.mimic.mimic3 import scan_table, table_path
from clinlm.corpora.split import draw_groups
from clinlm.files.columns import shown

_COLUMNS = ["ROW_ID", "SUBJECT_ID", "CATEGORY", "ISERROR", "TEXT"]


@final
class Mimic3Notes(Corpus):
    """One record per row of NOTEEVENTS, without labels.

    id = ROW_ID; group = SUBJECT_ID; attribute `category`, spaces around it dropped. Notes with ISERROR = 1 and notes
    without text are dropped, each reason counted in a notice. Records keep the table's order.

    The table has 2,083,180 notes. Memory holds the kept ones plus one block of the table; `fraction` draws
    patients before any text is kept, so the table is read twice.

    The data use agreement forbids passing the notes to third parties, so `remote_allowed` is False.

    Args:
        root: folder of NOTEEVENTS as .csv or .csv.gz.
        categories: values of CATEGORY to keep; None for all.
        fraction: share of the notes, in (0, 1]: all notes of patients drawn at random.
        seed: of the draw.

    Raises:
        ConfigError: a setting is out of range.
    """

    remote_allowed = False

    def __init__(
        self, root: str | Path, categories: Sequence[str] | None = None, fraction: float = 1.0, seed: int = 0
    ) -> None:
        if isinstance(categories, str) or (categories is not None and not categories):
            raise ConfigError(f"categories must be a list of at least one name, or null for all, got {categories!r}")
        if not 0 < fraction <= 1:
            raise ConfigError(f"fraction must be in (0, 1], got {fraction}; set 1 for every note")
        self.root: Path = Path(root)
        self.categories = None if categories is None else tuple(categories)
        self.fraction, self.seed = fraction, seed

    def records(self) -> Records:
        """See `Corpus.records`; the errors of `clinlm.corpora.mimic.mimic3.scan_table` apply.

        Raises:
            DataError: also if a category has no note, ISERROR is not 0, 1 or empty, a note has no SUBJECT_ID, or a
                ROW_ID is missing or repeated.
        """
        rows, known = self._rows()
        text = pl.col("TEXT").str.contains(r"\S").fill_null(False)
        error = pl.col("ISERROR").fill_null("") == "1"
        notes = (
            self._scan()
            .filter(pl.col("SUBJECT_ID").is_in(known))
            .with_columns(pl.when(error).then(pl.lit("error")).when(~text).then(pl.lit("empty")).alias("reason"))
            # Rows to drop are kept for the count, without their text.
            .with_columns(pl.when(pl.col("reason").is_null()).then(pl.col("TEXT")).alias("TEXT"))
            .collect(engine="streaming")
        )
        kept = notes.filter(pl.col("reason").is_null())
        if not kept.height:
            raise DataError(f"a corpus must have a note, none of the {notes.height:,} read from NOTEEVENTS can be used")
        if kept["ROW_ID"].is_duplicated().any() or kept["ROW_ID"].null_count():
            raise DataError("ROW_ID must be unique, in NOTEEVENTS some are missing or repeated; repair the table")
        counts = dict(notes["reason"].drop_nulls().value_counts().iter_rows())
        notices = [
            (rows - notes.height, f"of {rows:,} notes not read: fraction {self.fraction}"),
            (counts.get("error", 0), f"of {notes.height:,} notes dropped: ISERROR = 1"),
            (counts.get("empty", 0), f"of {notes.height:,} notes dropped: empty text"),
        ]
        frame = kept.select(
            pl.col("ROW_ID").alias("id"),
            pl.col("SUBJECT_ID").alias("group"),
            pl.col("TEXT").alias("text"),
            pl.lit([], dtype=pl.List(pl.String)).alias("labels"),
            pl.struct(pl.col("CATEGORY").alias("category")).alias("attributes"),
        )
        return Records(frame, tuple(count_notices(notices)))

    def fingerprint(self) -> str:
        return digest_files([table_path(self.root, "NOTEEVENTS")])

    def _scan(self) -> pl.LazyFrame:
        notes = scan_table(self.root, "NOTEEVENTS", _COLUMNS).with_columns(pl.col("CATEGORY").str.strip_chars())
        return notes if self.categories is None else notes.filter(pl.col("CATEGORY").is_in(self.categories))

    def _rows(self) -> tuple[int, list[str]]:
        """Read the table without its texts; return the number of notes and the patients drawn."""
        rows = self._scan().select("SUBJECT_ID", "CATEGORY", "ISERROR").collect(engine="streaming")
        self._check(rows)
        drawn = draw_groups(
            rows["SUBJECT_ID"].to_list(),
            np.ones(rows.height, dtype=bool),
            math.ceil(self.fraction * rows.height),
            self.seed,
        )
        return rows.height, rows.filter(drawn)["SUBJECT_ID"].unique().to_list()

    def _check(self, rows: pl.DataFrame) -> None:
        missing = set(self.categories or ()) - set(rows["CATEGORY"])
        if missing or not rows.height:
            column = pl.col("CATEGORY").str.strip_chars().unique()
            there = (
                scan_table(self.root, "NOTEEVENTS", ["CATEGORY"]).select(column).collect(engine="streaming")["CATEGORY"]
            )
            raise DataError(
                f"every category must have a note, NOTEEVENTS has none of {sorted(missing)}; it has "
                f"{shown(sorted(there.drop_nulls())) or 'no note'}; set categories to some of them, or null for all"
            )
        strange = rows.filter(~pl.col("ISERROR").fill_null("").is_in(["", "0", "1"])).height
        if strange:
            raise DataError(f"ISERROR must be 1, 0 or empty, NOTEEVENTS has {strange:,} notes with another; repair it")
        nobody = rows.filter(~pl.col("SUBJECT_ID").str.contains(r"\S").fill_null(False)).height
        if nobody:
            raise DataError(f"a note must have a SUBJECT_ID, {nobody:,} in NOTEEVENTS have none; repair the table")
