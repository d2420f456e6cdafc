"""i2b2 2008: discharge summaries with judgments on obesity and fifteen of its comorbidities."""

from collections import Counter
from pathlib import Path
from typing import Final, Literal, final, get_args

import polars as pl

from clinlm.config.errors import ConfigError, DataError, MissingFileError
from clinlm.corpora.base import (
    Corpus,
    NearDuplicates,
    Records,
    check_near_duplicates,
    count_notice,
    count_notices,
    digest_files,
)
from clinlm.corpora.i2b2.xml_records import xml_attribute, xml_elements, xml_text
from clinlm.corpora.table_rows import attribute_struct

Source = Literal["intuitive", "textual"]
JUDGMENTS: Final = ("Y", "N", "Q", "U")
"""Present, absent, questionable, not mentioned."""


@final
class I2b2Obesity(Corpus):
    """One record per doc of the records' XML; labels are the diseases that the chosen judges found present (Y).

    Source: Uzuner, 2009, JAMIA 16:561 (https://doi.org/10.1197/jamia.M3115). Files of texts have docs with id and
    text; files of judgments have diseases with a source (intuitive, textual), a name, and docs with id and judgment.
    Both are all .xml files of the folder. id = group = the doc's id, as a doc is a patient; no attributes. A doc that a
    disease has no judgment for lacks that label; these are counted, as are questionable ones, and judgments of no doc.

    Args:
        root: the folder.
        source: whose judgments: `intuitive` (what a physician concludes) or `textual` (what is written).
        near_duplicates: `count`, `merge` or `ignore` those of other patients; see `clinlm.corpora.repeats`.

    Raises:
        ConfigError: `source` is neither.
    """

    remote_allowed = False

    def __init__(
        self, root: str | Path, source: Source = "intuitive", near_duplicates: NearDuplicates = "count"
    ) -> None:
        if source not in get_args(Source):
            raise ConfigError(f"source must be intuitive or textual, got {source!r}")
        self.root: Path = Path(root)
        self.source, self.near_duplicates = source, check_near_duplicates(near_duplicates)

    def records(self) -> Records:
        """See `Corpus.records`.

        Raises:
            DataError: also if a file is no XML, a doc has two texts or judgments, or a judgment is unknown.
        """
        texts, judged = dict[str, str](), dict[tuple[str, str], str]()
        for path in self._paths():
            for around, doc in xml_elements(path, "doc"):
                id = xml_attribute(doc, "id", path)
                disease = next((one for one in around if one.tag.lower() == "disease"), None)
                if disease is None:
                    if id in texts:
                        raise DataError(f"a doc must have one text, {path.name} has another of {id[:32]}; remove one")
                    texts[id] = xml_text(doc, "text")
                    continue
                group = next((one for one in around if one.tag.lower() == "diseases"), disease)
                if xml_attribute(group, "source", path).lower() == self.source:
                    found = xml_attribute(doc, "judgment", path).upper()
                    key = (xml_attribute(disease, "name", path), id)
                    if found not in JUDGMENTS or judged.setdefault(key, found) != found:
                        raise DataError(
                            f"a judgment must be one of {', '.join(JUDGMENTS)}, once for a doc, that of {id[:32]} in "
                            f"{path.name} is not; repair the file"
                        )
        written = {id: text for id, text in texts.items() if text.strip()}
        diseases = sorted({name for name, _ in judged})
        if not written or not judged:
            raise DataError(
                f"a corpus must have notes and {self.source} judgments, {self.root} has {len(written):,} and "
                f"{len(judged):,}; set root to the folder of both files, or source"
            )
        return _labelled(written, diseases, judged, len(texts) - len(written))

    def fingerprint(self) -> str:
        return digest_files(self._paths())

    def _paths(self) -> list[Path]:
        found = sorted(self.root.glob("*.xml")) if self.root.is_dir() else []
        if not found:
            raise MissingFileError(f"root must be a folder of .xml files, got {self.root}; set it to both files")
        return found


def _labelled(texts: dict[str, str], diseases: list[str], judged: dict[tuple[str, str], str], blank: int) -> Records:
    labels = [[name for name in diseases if judged.get((name, id)) == "Y"] for id in texts]
    every = Counter(judged.get((name, id), "") for name in diseases for id in texts)
    homeless = sum(id not in texts for _, id in judged)
    frame = pl.DataFrame(
        {
            "id": list(texts),
            "group": list(texts),
            "text": list(texts.values()),
            "labels": pl.Series(labels, dtype=pl.List(pl.String)),
        }
    ).with_columns(attribute_struct(()))
    total = len(texts) * len(diseases)
    notices = [
        *count_notice(blank, len(texts) + blank, "docs dropped: no text"),
        *count_notice(every[""], total, "judgments are missing: read as not present"),
        *count_notice(every["Q"], total, "judgments are questionable: read as not present"),
        *count_notices([(homeless, "judgments left out: of docs that have no text")]),
    ]
    return Records(frame, tuple(notices))
