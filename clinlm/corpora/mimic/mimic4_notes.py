"""MIMIC-IV: single notes, discharge summaries and radiology reports."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import final

import numpy as np
import polars as pl

from clinlm.config.errors import ConfigError, DataError
from clinlm.corpora.base import Corpus, Records, count_notice, digest_files
from clinlm.corpora.mimic.mimic3 import collect_notes, drop_notes
from clinlm.corpora.mimic.mimic4 import NOTE_TABLES, described, scan_table4, table4_path
from clinlm.corpora.split import draw_groups
from clinlm.corpora.table_rows import is_blank


@final
class Mimic4Notes(Corpus):
    """One record per note of MIMIC-IV-Note, without labels, in the order of the tables.

    id = note_id; group = subject_id; attributes `category` (the table) and `description` (Report or Addendum). Notes
    without text are dropped, and counted. The data use agreement forbids passing the notes to third parties, so
    `remote_allowed` is False.

    Memory holds the kept notes and one block of a table (radiology has 2.3 million notes); a `fraction` below 1 draws
    patients before any text is kept, so the tables are then read twice.

    Args:
        root: folder of the tables, or of `note` (`mimic4.table4_path`).
        tables: those to read, of `discharge` and `radiology`.
        fraction: share of the notes, in (0, 1]: all notes of patients drawn at random.
        seed: of the draw.

    Raises:
        ConfigError: a table is neither, or the fraction is out of range.
    """

    remote_allowed = False

    def __init__(
        self, root: str | Path, tables: Sequence[str] = tuple(NOTE_TABLES), fraction: float = 1.0, seed: int = 0
    ) -> None:
        unknown = sorted(set(tables) - set(NOTE_TABLES))
        if isinstance(tables, str) or not tables or unknown or len(set(tables)) < len(tables):
            raise ConfigError(f"tables must be a list of {' and '.join(NOTE_TABLES)}, got {tables!r}; set some of them")
        if not 0 < fraction <= 1:
            raise ConfigError(f"fraction must be in (0, 1], got {fraction}; set 1 for every note")
        self.root: Path = Path(root)
        self.tables = tuple(tables)
        self.fraction, self.seed = fraction, seed

    def records(self) -> Records:
        """See `Corpus.records`; the errors of `mimic4.scan_table4` apply.

        Raises:
            DataError: also if a note has no subject_id, note_id is missing or repeated, or note_type is unknown.
        """
        frames = []
        known, notices = self._drawn()
        for table in self.tables:
            frame, told = self._notes(table, known)
            frames.append(frame)
            notices += told
        notes = pl.concat(frames)
        if not notes.height:
            raise DataError(f"a corpus must have a note, {' and '.join(self.tables)} have none; {'; '.join(notices)}")
        if notes["id"].is_duplicated().any() or notes["id"].null_count():
            raise DataError("note_id must be unique, some are missing or repeated; repair the tables")
        return Records(notes, tuple(notices))

    def fingerprint(self) -> str:
        return digest_files(table4_path(self.root, table) for table in self.tables)

    def _drawn(self) -> tuple[list[str] | None, list[str]]:
        """Return the patients drawn, None for all; and notices."""
        if self.fraction == 1:
            return None, []
        scans = [scan_table4(self.root, table, ["SUBJECT_ID"]) for table in self.tables]
        people = pl.concat(scans).collect(engine="streaming")["SUBJECT_ID"].fill_null("")
        wanted = math.ceil(self.fraction * len(people))
        drawn = draw_groups(people.to_list(), np.ones(len(people), dtype=bool), wanted, self.seed)
        left = len(people) - int(drawn.sum())
        told = count_notice(left, len(people), f"notes not read: fraction {self.fraction}")
        return people.filter(pl.Series(drawn)).unique().to_list(), told

    def _notes(self, table: str, known: Sequence[str] | None) -> tuple[pl.DataFrame, list[str]]:
        reasons = {"empty text": is_blank("TEXT")}
        scanned = scan_table4(self.root, table, ["NOTE_ID", "SUBJECT_ID", "NOTE_TYPE", "TEXT"])
        if known is not None:
            scanned = scanned.filter(pl.col("SUBJECT_ID").fill_null("").is_in(known))
        found = collect_notes(scanned, reasons)
        nobody = found.filter(is_blank("SUBJECT_ID")).height
        if nobody:
            raise DataError(f"a note must have a SUBJECT_ID, {nobody:,} in {table} have none; repair the table")
        kept, notices = drop_notes(found.with_columns(described(found, table)), reasons)
        attributes = pl.struct(pl.lit(table).alias("category"), pl.col("DESCRIPTION").alias("description"))
        return kept.select(
            pl.col("NOTE_ID").alias("id"),
            pl.col("SUBJECT_ID").alias("group"),
            pl.col("TEXT").alias("text"),
            pl.lit([], dtype=pl.List(pl.String)).alias("labels"),
            attributes.alias("attributes"),
        ), [f"{table}: {notice}" for notice in notices]
