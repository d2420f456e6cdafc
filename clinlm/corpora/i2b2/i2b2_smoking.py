"""i2b2 2006: discharge summaries with the smoking status of the patient."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import final

import polars as pl

from clinlm.config.errors import DataError
from clinlm.corpora.base import Corpus, NearDuplicates, Records, check_near_duplicates, count_notices, digest_files
from clinlm.corpora.i2b2.xml_records import xml_attribute, xml_elements, xml_text
from clinlm.corpora.split import split_files
from clinlm.corpora.table_rows import attribute_struct

STATUSES = ("PAST SMOKER", "CURRENT SMOKER", "SMOKER", "NON-SMOKER", "UNKNOWN")


@final
class I2b2Smoking(Corpus):
    """One record per RECORD of the XML: its TEXT, and its SMOKING STATUS, one of `STATUSES`, as label.

    Source: Uzuner et al., 2008, JAMIA 15:14 (https://doi.org/10.1197/jamia.M2408). id = group = RECORD ID: a record is
    a patient. No attributes. Records without text or status are dropped, and counted. A record is in memory at a time,
    besides those kept.

    Args:
        root: the file; or the folder of `files`.
        files: split (train, validation, test) -> name of its file in `root`; None if root is the file.
        near_duplicates: `count`, `merge` or `ignore` those of other patients; see `clinlm.corpora.repeats`.
    """

    remote_allowed = False

    def __init__(
        self,
        root: str | Path,
        files: Mapping[str, str] | None = None,
        near_duplicates: NearDuplicates = "count",
    ) -> None:
        self.root: Path = Path(root)
        self.files, self.near_duplicates = files, check_near_duplicates(near_duplicates)

    def records(self) -> Records:
        """See `Corpus.records`.

        Raises:
            DataError: also if a file is no XML, a status is unknown, or an id is on two records.
        """
        rows, counts, splits = list[tuple[str, str, list[str]]](), Counter[str](), dict[str, str]()
        for path, split in split_files(self.root, self.files):
            for _, record in xml_elements(path, "record"):
                counts["all"] += 1
                id, text = xml_attribute(record, "id", path), xml_text(record, "text")
                found = [one for one in record.iter() if one.tag.lower() == "smoking"]
                if not text.strip() or not found:
                    counts["no text" if not text.strip() else "no smoking status"] += 1
                    continue
                status = xml_attribute(found[0], "status", path).upper()
                if status not in STATUSES:
                    raise DataError(
                        f"STATUS must be one of {', '.join(STATUSES)}, that of record {id[:32]} in {path.name} is "
                        "none; repair the file"
                    )
                rows.append((id, text, [status]))
                if split is not None:
                    splits[id] = split
        return _identified(rows, counts, splits)

    def fingerprint(self) -> str:
        return digest_files(path for path, _ in split_files(self.root, self.files))


def _identified(rows: list[tuple[str, str, list[str]]], counts: Counter[str], splits: Mapping[str, str]) -> Records:
    total = counts.pop("all", 0)
    notices = count_notices((count, f"of {total:,} records dropped: {what}") for what, count in counts.items())
    if not rows:
        raise DataError(f"a corpus must have a note, the files have none; {'; '.join(notices) or 'check root'}")
    schema = {"id": pl.String(), "text": pl.String(), "labels": pl.List(pl.String)}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    if frame["id"].is_duplicated().any():
        raise DataError("an ID must be that of one record, some are on several; remove the repeats")
    columns = ("id", pl.col("id").alias("group"), "text", "labels", attribute_struct(()))
    return Records(frame.select(columns), (*notices,), splits or None)
