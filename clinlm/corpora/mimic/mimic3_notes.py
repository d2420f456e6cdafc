"""MIMIC-III: single notes of any category."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import final

import numpy as np
import polars as pl

from clinlm.config.errors import ConfigError, DataError
from clinlm.corpora.base import Corpus, Records, count_notice, digest_files
from clinlm.corpora.mimic.mimic3 import check_notes, collect_notes, drop_notes, scan_table, table_path
from clinlm.corpora.split import draw_groups
from clinlm.corpora.table_rows import is_blank

_COLUMNS = ["ROW_ID", "SUBJECT_ID", "CATEGORY", "ISERROR", "TEXT"]


@final
class Mimic3Notes(Corpus):
    """One record per row of NOTEEVENTS, without labels.

    id = ROW_ID; group = SUBJECT_ID; attribute `category`, spaces around it dropped. Notes with ISERROR = 1 and notes
    without text are dropped, each reason counted in a notice. Records keep the table's order.

    The table has 2,083,180 notes. Memory holds the kept ones and one block of the table; a `fraction` below 1 draws
    patients before any text is kept, so the table is then read twice. The data use agreement forbids passing the notes
    to third parties, so `remote_allowed` is False.

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
        whole = self.fraction == 1
        table = self._scan()
        if not whole:
            rows, known = self._draw(table.select("SUBJECT_ID", "CATEGORY", "ISERROR").collect(engine="streaming"))
            table = table.filter(pl.col("SUBJECT_ID").is_in(known))
        reasons = {
            "ISERROR = 1": pl.col("ISERROR") == "1",
            "empty text": is_blank("TEXT"),
        }
        notes = collect_notes(table, reasons)
        if whole:
            self._check(notes)
        kept, dropped = drop_notes(notes, reasons)
        if not kept.height:
            raise DataError(f"a corpus must have a note, none of the {notes.height:,} read from NOTEEVENTS can be used")
        if kept["ROW_ID"].is_duplicated().any() or kept["ROW_ID"].null_count():
            raise DataError("ROW_ID must be unique, in NOTEEVENTS some are missing or repeated; repair the table")
        unread = [] if whole else count_notice(rows - notes.height, rows, f"notes not read: fraction {self.fraction}")
        frame = kept.select(
            pl.col("ROW_ID").alias("id"),
            pl.col("SUBJECT_ID").alias("group"),
            pl.col("TEXT").alias("text"),
            pl.lit([], dtype=pl.List(pl.String)).alias("labels"),
            pl.struct(pl.col("CATEGORY").alias("category")).alias("attributes"),
        )
        return Records(frame, (*unread, *dropped))

    def fingerprint(self) -> str:
        return digest_files([table_path(self.root, "NOTEEVENTS")])

    def _scan(self) -> pl.LazyFrame:
        notes = scan_table(self.root, "NOTEEVENTS", _COLUMNS).with_columns(pl.col("CATEGORY").str.strip_chars())
        return notes if self.categories is None else notes.filter(pl.col("CATEGORY").is_in(self.categories))

    def _check(self, rows: pl.DataFrame) -> None:
        check_notes(self.root, rows, self.categories or ())
        nobody = rows.filter(is_blank("SUBJECT_ID")).height
        if nobody:
            raise DataError(f"a note must have a SUBJECT_ID, {nobody:,} in NOTEEVENTS have none; repair the table")

    def _draw(self, rows: pl.DataFrame) -> tuple[int, list[str]]:
        """Return the number of notes, all of the table's, and the patients drawn."""
        self._check(rows)
        drawn = draw_groups(
            rows["SUBJECT_ID"].to_list(),
            np.ones(rows.height, dtype=bool),
            math.ceil(self.fraction * rows.height),
            self.seed,
        )
        return rows.height, rows.filter(drawn)["SUBJECT_ID"].unique().to_list()
