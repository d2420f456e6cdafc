"""PubTator: titles and abstracts with their entities, the format of BC5CDR and NCBI Disease."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from clinlm.config.errors import DataError
from clinlm.corpora.base import Corpus, Records, count_notices, digest_files
from clinlm.corpora.span_records import SpanDocument, span_records
from clinlm.corpora.split import split_files
from clinlm.corpora.standoff import Annotation, locate, standoff_notices
from clinlm.files.plain_text import read_lines
from clinlm.terminology.spans import Span

_PASSAGE = re.compile(r"([^|\t]+)\|([a-z])\|(.*)")
_OFFSET = re.compile(r"[0-9]{1,15}")
_RELATION = re.compile(r"[A-Za-z]\w*")


@dataclass(slots=True)
class _Document:
    name: str
    passages: dict[str, str] = field(default_factory=dict, repr=False)
    entities: list[Annotation] = field(default_factory=list, repr=False)


@final
class Pubtator(Corpus):
    """One record per document: PMID|t|title, PMID|a|abstract, then PMID, start, end, words and label between tabs.

    The text is the title, a line end and the abstract (and any further passages); offsets count one character between
    them. They are checked against the words, as in `clinlm.corpora.brat`; an entity without its words at its offsets is
    dropped, and a notice names it. Columns after the label (identifiers, the parts of a composite mention, which stays
    one span) are not read. Relations (PMID, CID, two identifiers) are counted and left out.

    id = group = PMID; no attributes. See `clinlm.corpora.span_records` for the rest: a PMID in several files belongs to
    the last of train, validation and test.

    Args:
        root: the file, plain or gzip; or the folder of `files`.
        map: label of the file -> label of the records, others are dropped; None keeps all.
        files: split (train, validation, test) -> name of its file in `root`; None if root is the file.
    """

    def __init__(
        self, root: str | Path, map: Mapping[str, str] | None = None, files: Mapping[str, str] | None = None
    ) -> None:
        self.root: Path = Path(root)
        self.map = map
        self.files = files

    def records(self) -> Records:
        """See `Corpus.records`.

        Raises:
            DataError: also if a line is not in the format, or is not under its document.
        """
        counts: Counter[str] = Counter()
        documents, checked = [], []
        for path, split in split_files(self.root, self.files):
            for document in _documents(path, counts):
                placed = locate("\n".join(document.passages.values()), document.entities)
                checked.append((document.name, document.entities, placed))
                both = zip(document.entities, placed.fragments, strict=True)
                spans = [Span(*part, entity.label) for entity, found in both for part in found or ()]
                documents.append(SpanDocument(document.name, document.name, placed.text, spans, split))
        totals = [
            (counts["relations"], "lines not read: relations"),
            (counts["composite"], "composite entities, each read as one span"),
        ]
        found = count_notices(totals)
        return span_records(documents, self.map, [*found, *standoff_notices(checked)])

    def fingerprint(self) -> str:
        return digest_files([path for path, _ in split_files(self.root, self.files)])


def _documents(path: Path, counts: Counter[str]) -> list[_Document]:
    found: list[_Document] = []
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        passage = _PASSAGE.fullmatch(line)
        name = passage[1] if passage else line.partition("\t")[0]
        if passage and (not found or found[-1].name != name or passage[2] in found[-1].passages):
            found.append(_Document(name))
        if not found or found[-1].name != name:
            raise _error(path, number, "is not under a title of its PMID")
        if passage:
            found[-1].passages[passage[2]] = passage[3]
            continue
        cells = line.split("\t")
        if len(cells) >= 5 and _OFFSET.fullmatch(cells[1]) and _OFFSET.fullmatch(cells[2]) and cells[4].strip():
            fragments = ((int(cells[1]), int(cells[2])),)
            found[-1].entities.append(Annotation(f"line {number:,}", cells[4].strip(), fragments, cells[3]))
            counts["composite"] += len(cells) > 6 and "|" in cells[6]
        elif len(cells) >= 3 and _RELATION.fullmatch(cells[1]):
            counts["relations"] += 1
        else:
            raise _error(path, number, "is not a passage, entity or relation")
    return found


def _error(path: Path, number: int, what: str) -> DataError:
    return DataError(
        "a document must be PMID|t|title, PMID|a|abstract, and lines of PMID, start, end, words, label between tabs; "
        f"{path.name} line {number:,} {what}; repair it"
    )
