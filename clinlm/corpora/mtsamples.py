"""MTSamples: dictated notes and their medical specialties (public samples, redistributed as CC0)."""

from pathlib import Path
from typing import final

import polars as pl

from clinlm.config.errors import DataError, MissingFileError
from clinlm.corpora.base import Corpus, NearDuplicates, Records, check_near_duplicates, count_notices, digest_files
from clinlm.corpora.table_rows import is_blank
from clinlm.files.delimited import scan_delimited

_COLUMNS = ["sample_id", "medical_specialty", "transcription"]


@final
class MTSamples(Corpus):
    """One record per sample_id: its transcription, labelled with all its specialties.

    The table repeats a note once per specialty. id = sample_id; text = transcription; labels = the distinct, stripped
    specialties in the table's order; no attributes. Records are sorted by sample_id as a number.

    group = the smallest sample_id with the same text (in lower case, runs of white space as one space), so that a
    repeated note is never in two splits. Notices count such notes, and rows dropped for an empty transcription.

    `keywords`, `description` and `sample_name` are not read, as they name the specialty.

    Args:
        root: mtsamples.csv or mtsamples.csv.gz, or the folder of one of them.
        near_duplicates: `count`, `merge` or `ignore` those of other notes; see `clinlm.corpora.repeats`.
    """

    def __init__(self, root: str | Path, near_duplicates: NearDuplicates = "count") -> None:
        self.root: Path = Path(root)
        self.near_duplicates = check_near_duplicates(near_duplicates)

    def records(self) -> Records:
        """See `Corpus.records`.

        Raises:
            MissingFileError: the table does not exist.
            DataError: also if a row has no sample_id, or a sample_id has several texts.
        """
        path = self._path()
        rows = scan_delimited(path, _COLUMNS).collect(engine="streaming")
        kept = rows.filter(~is_blank("transcription"))
        if not kept.height:
            raise DataError(
                f"a corpus must have a note, got {rows.height:,} rows without a transcription in {path.name}"
            )
        notes = _notes(path, kept)
        attributes = pl.struct(pl.lit(None, dtype=pl.String).alias("none")).alias("attributes")
        frame = _grouped(notes).select("id", "group", "text", "labels", attributes)
        dropped, shared = rows.height - kept.height, frame.filter(pl.col("id") != pl.col("group")).height
        unlabelled = frame.filter(pl.col("labels").list.len() == 0).height
        counts = [
            (dropped, f"of {rows.height:,} rows dropped: empty transcription"),
            (shared, f"of {frame.height:,} notes repeat the text of another sample_id and share its group"),
            (unlabelled, f"of {frame.height:,} notes have no specialty"),
        ]
        return Records(frame, tuple(count_notices(counts)))

    def fingerprint(self) -> str:
        return digest_files([self._path()])

    def _path(self) -> Path:
        if not self.root.is_dir():
            return self.root
        found = [path for name in ("mtsamples.csv", "mtsamples.csv.gz") if (path := self.root / name).is_file()]
        if not found:
            raise MissingFileError(
                f"root must have mtsamples.csv or mtsamples.csv.gz, {self.root} has neither; set root to the file"
            )
        if len(found) > 1:
            raise DataError(f"MTSamples must be one file, {self.root} has both .csv and .csv.gz; set root to one")
        return found[0]


def _notes(path: Path, rows: pl.DataFrame) -> pl.DataFrame:
    """Return one row per sample_id with id, text and labels, sorted by the number of the id."""
    rows = rows.with_columns(pl.col("sample_id", "medical_specialty").str.strip_chars())
    unnamed = rows.filter(pl.col("sample_id").fill_null("") == "").height
    if unnamed:
        raise DataError(f"every row must have a sample_id, {path.name} has {unnamed:,} without; fill them in")
    specialty = pl.col("medical_specialty")
    notes = rows.group_by(pl.col("sample_id").alias("id"), maintain_order=True).agg(
        pl.col("transcription").first().alias("text"),
        specialty.filter(specialty.str.len_bytes() > 0).unique(maintain_order=True).alias("labels"),
        pl.col("transcription").n_unique().alias("texts"),
    )
    several = notes.filter(pl.col("texts") > 1)["id"].to_list()
    if several:
        raise DataError(
            f"a sample_id must have one transcription, {len(several):,} in {path.name} have several (first: "
            f"{', '.join(several[:5])}); give each text its own"
        )
    return notes.sort(pl.col("id").cast(pl.Int64, strict=False), "id", nulls_last=True)


def _grouped(notes: pl.DataFrame) -> pl.DataFrame:
    """Add `group`, the first id with the same normalised text."""
    same = pl.col("text").str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()
    return notes.with_columns(pl.col("id").first().over(same).alias("group"))
