"""PubTator: titles and abstracts with their entities, the format of BC5CDR and NCBI Disease."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import final

from clinlm.config.errors import DataError
from clinlm.corpora.base import Corpus, Records, count_notices, digest_files
from clinlm.corpora.span_records import SpanDocument, span_records
from clinlm.corpora.split import split_files
from clinlm.corpora.standoff import Annotated, Annotation, locate, standoff_notices
from clinlm.files.plain_text import read_lines
from clinlm.terminology.spans import Span

_PASSAGE = re.compile(r"([^|\t]+)\|([A-Za-z])\|(.*)")
_OFFSET = re.compile(r"-1|[0-9]{1,15}")
_RELATION = re.compile(r"[A-Za-z][\w:./-]*")


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
    one span) are not read. Relations (PMID, CID, two identifiers) and entities without place (-1) are counted and left
    out. Lines of an abstract may stand alone below it, and entities anywhere in the file.

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
        found = [
            (document, split)
            for path, split in split_files(self.root, self.files)
            for document in _documents(path, counts)
        ]
        annotated = [_annotated(document) for document, _ in found]
        located = locate(annotated)
        documents = []
        for (document, split), placed in zip(found, located, strict=True):
            both = zip(document.entities, placed.fragments, strict=True)
            spans = [Span(*part, entity.label) for entity, place in both for part in place or ()]
            documents.append(SpanDocument(document.name, document.name, placed.text, spans, split))
        totals = [
            (counts["relations"], "lines not read: relations"),
            (counts["absent"], "entities not read: without place (-1)"),
            (counts["composite"], "composite entities, each read as one span"),
            (counts["lines"], "lines without PMID read as part of the passage above them"),
        ]
        return span_records(documents, self.map, [*count_notices(totals), *standoff_notices(annotated, located)])

    def fingerprint(self) -> str:
        return digest_files([path for path, _ in split_files(self.root, self.files)])


def _annotated(document: _Document) -> Annotated:
    passages = list(document.passages.values())
    ends = accumulate(len(passage) + 1 for passage in passages[:-1])
    return Annotated(document.name, "\n".join(passages), document.entities, [end - 1 for end in ends])


def _documents(path: Path, counts: Counter[str]) -> list[_Document]:
    found: list[_Document] = []
    apart: list[tuple[int, list[str]]] = []
    above = ""
    for number, line in enumerate(read_lines(path), start=1):
        passage = _PASSAGE.fullmatch(line)
        if passage:
            name, above = passage[1], passage[2].lower()
            if not found or found[-1].name != name or above in found[-1].passages:
                found.append(_Document(name))
            found[-1].passages[above] = passage[3]
        elif "\t" in line or not line.strip():
            above, cells = "", line.split("\t")
            if found and found[-1].name == cells[0]:
                _read_line(path, number, cells, found[-1], counts)
            elif line.strip():
                apart.append((number, cells))
        elif not above:
            raise _error(path, number, "is not under a title of its PMID")
        elif re.match(rf"{re.escape(found[-1].name)} +-?[0-9]", line):
            raise _error(path, number, "has spaces where tabs must be")
        else:
            found[-1].passages[above] += f"\n{line}"
            counts["lines"] += 1
    for number, cells in apart:
        own = [document for document in found if document.name == cells[0]]
        if len(own) != 1:
            raise _error(path, number, "is not under a title of its PMID")
        _read_line(path, number, cells, own[0], counts)
    return found


def _read_line(path: Path, number: int, cells: list[str], document: _Document, counts: Counter[str]) -> None:
    """Add an entity to its document, or count another line."""
    if len(cells) >= 5 and _OFFSET.fullmatch(cells[1]) and _OFFSET.fullmatch(cells[2]) and cells[4].strip():
        fragment = int(cells[1]), int(cells[2])
        if min(fragment) < 0:
            counts["absent"] += 1
            return
        document.entities.append(
            Annotation(f"line {number:,}", cells[4].strip(), (fragment,), cells[3].strip() or None)
        )
        counts["composite"] += len(cells) > 6 and "|" in cells[6]
    elif len(cells) >= 3 and _RELATION.fullmatch(cells[1]):
        counts["relations"] += 1
    else:
        raise _error(path, number, "is not a passage, entity or relation")


def _error(path: Path, number: int, what: str) -> DataError:
    return DataError(
        "a document must be PMID|t|title, PMID|a|abstract, and lines of PMID, start, end, words, label between tabs; "
        f"{path.name} line {number:,} {what}; repair it"
    )
