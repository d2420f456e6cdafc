"""CoNLL: one token and its tag per line."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, final, get_args

from clinlm.config.errors import ConfigError, DataError
from clinlm.corpora import tag_schemes
from clinlm.corpora.base import Corpus, Records, count_notices, digest_files
from clinlm.corpora.span_records import SpanDocument, span_records
from clinlm.corpora.split import split_files
from clinlm.corpora.tag_schemes import Scheme, Tag
from clinlm.files.plain_text import read_lines
from clinlm.terminology.spans import Span

SchemeSetting = Literal["auto", "io", "iob1", "iob2", "iobes", "bilou", "bmes"]

_BREAK, _SPACES = "-DOCSTART-", " \t"
_LABELS = 100
"""More labels than any corpus of entities has: the wrong column is read as tags."""


@dataclass(slots=True)
class _Sentence:
    tokens: list[str] = field(default_factory=list, repr=False)
    tags: list[Tag] = field(default_factory=list, repr=False)


@dataclass(slots=True)
class _Document:
    """The document's name in the file, "" for none, and its sentences."""

    name: str = ""
    sentences: list[_Sentence] = field(default_factory=list, repr=False)


@final
class Conll(Corpus):
    """One record per document of files with one token and tag per line, and an empty line after each sentence.

    The text joins tokens with spaces and sentences with line ends, since the original spacing is not in such files.
    Spans are exact in that text.

    Lines with a tab are split at tabs, others at spaces; other white space belongs to tokens. A line that begins with
    -DOCSTART-, or with `marker`, begins a document; the rest of a marker line is its name and group, so that a document
    in several files does not span two splits. A file without marks, or with only one at its beginning (as Label Studio
    writes), has no documents: then `sentences` consecutive sentences form one, so that sentences that belong together
    mostly stay together.

    Tags are IOB1, IOB2 (BIO), IOBES, BILOU, BMES or IO, also without labels (then all are ENTITY), or labels alone. All
    are read as by conlleval (`clinlm.corpora.tag_schemes.find_entities`); tags that break the scheme are counted.

    id = the name, or the split or file and a number; no attributes. See `clinlm.corpora.span_records` for the rest.

    Args:
        root: the file, plain or gzip; or the folder of `files`.
        map: label of the file -> label of the records, others are dropped; None keeps all.
        files: split (train, validation, test) -> name of its file in `root`; None if root is the file.
        sentences: per document where none are marked, > 0; None makes every sentence a document.
        scheme: of all files; `auto` detects it by the prefixes.
        token, tag: their columns, from 0; from the end if negative.
        marker: prefix of lines that begin a document, besides -DOCSTART-, such as "# doc_id"; None for no other.

    Raises:
        ConfigError: a setting is out of range.
    """

    def __init__(
        self,
        root: str | Path,
        map: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
        sentences: int | None = 8,
        scheme: SchemeSetting = "auto",
        token: int = 0,
        tag: int = -1,
        marker: str | None = None,
    ) -> None:
        if sentences is not None and sentences < 1:
            raise ConfigError(f"sentences must be >= 1 or null, got {sentences}")
        if scheme not in get_args(SchemeSetting):
            raise ConfigError(f"scheme must be one of {', '.join(get_args(SchemeSetting))}, got {scheme!r}")
        if token == tag:
            raise ConfigError(f"token and tag must be different columns, got {token} for both; set another")
        if marker is not None and not marker.strip():
            raise ConfigError("marker must have visible characters, got white space; set null for none")
        self.root: Path = Path(root)
        self.map = map
        self.files = files
        self.sentences = sentences
        self.scheme: SchemeSetting = scheme
        self.token, self.tag = token, tag
        self.marker = marker

    def records(self) -> Records:
        """See `Corpus.records`.

        Raises:
            DataError: also if a line lacks a column, a token or a tag, or tags fit no scheme.
        """
        counts: Counter[str] = Counter()
        found = [
            (document, split)
            for path, split in split_files(self.root, self.files)
            for document in self._documents(path, split or path.stem, counts)
        ]
        scheme = self._scheme([sentence.tags for document, _ in found for sentence in document.sentences])
        documents = []
        for document, split in found:
            text, spans, broken = _joined(document.sentences, scheme)
            counts["broken"] += broken
            documents.append(SpanDocument(document.name, document.name, text, spans, split))
        totals = [
            (counts["empty"], "lines left out: no visible token, and the tag O"),
            (counts["broken"], f"tags break the scheme {scheme}, and are read as conlleval does"),
        ]
        return span_records(documents, self.map, count_notices(totals))

    def fingerprint(self) -> str:
        return digest_files([path for path, _ in split_files(self.root, self.files)])

    def _documents(self, path: Path, prefix: str, counts: Counter[str]) -> Iterator[_Document]:
        documents = self._read(path, counts)
        if len(documents) == 1 and not documents[0].name:
            size, every = self.sentences or 1, documents[0].sentences
            documents = [_Document("", every[start : start + size]) for start in range(0, len(every), size)]
        for number, document in enumerate(documents, start=1):
            yield _Document(document.name or f"{prefix}-{number}", document.sentences)

    def _read(self, path: Path, counts: Counter[str]) -> list[_Document]:
        """Return the documents of a file; the one before the first mark has no name."""
        documents, sentence = [_Document()], _Sentence()
        marks = (_BREAK,) if self.marker is None else (_BREAK, self.marker)
        for number, line in enumerate(read_lines(path), start=1):
            line = line.rstrip(_SPACES)
            if line.startswith(marks):
                documents.append(_Document(self._name(line)))
            elif line:
                cells = line.split("\t") if "\t" in line else re.split(" +", line.strip(" "))
                try:
                    token, tag = cells[self.token].strip(" "), cells[self.tag].strip(" ")
                except IndexError:
                    token = tag = ""
                if not tag or len(cells) < 2 or not token or token.isspace():
                    token = self._empty(tag, len(cells), f"{path.name} line {number:,}")
                    counts["empty"] += 1
                if not sentence.tokens:
                    documents[-1].sentences.append(sentence)
                sentence.tokens.append(token)
                sentence.tags.append(tag_schemes.parse_tag(tag))
                continue
            sentence = _Sentence()
        return [document for document in documents if document.sentences]

    def _name(self, line: str) -> str:
        """Return the name of the document that the line begins, "" for none."""
        marked = self.marker is not None and line.startswith(self.marker)
        return line.removeprefix(self.marker or "").strip(" \t=:") if marked else ""

    def _empty(self, tag: str, columns: int, place: str) -> str:
        """Return "" for an invisible token, which is allowed outside of entities only."""
        if columns < 2 or not tag:
            raise DataError(
                f"a line must have a token in column {self.token} and a tag in column {self.tag}, {place} has "
                f"{columns:,} columns; set token and tag, or marker if the line begins a document"
            )
        if tag != "O":
            raise DataError(f"a token of an entity must be visible, that of {place} is not; repair it")
        return ""

    def _scheme(self, sentences: Sequence[Sequence[Tag]]) -> Scheme:
        """Return the scheme, set or detected, after checking the tags."""
        remedy = "set tag to the column of tags, and scheme"
        tags = {tag for sentence in sentences for tag in sentence}
        labels, prefixes = {tag.label for tag in tags}, {tag.prefix for tag in tags}
        if len(labels) > _LABELS:
            raise DataError(
                f"tags must have at most {_LABELS} labels, got {len(labels):,} in {self.root.name}; {remedy}"
            )
        if self.scheme == "auto":
            try:
                return tag_schemes.recognize_scheme(sentences)
            except ValueError as error:
                raise DataError(f"{error} in {self.root.name}; {remedy}") from None
        allowed = {*tag_schemes.SCHEMES[self.scheme], "O", *([""] if self.scheme == "io" else [])}
        if prefixes - allowed:
            letters = ", ".join(tag_schemes.SCHEMES[self.scheme])
            raise DataError(
                f"tags of the scheme {self.scheme} must begin with {letters} or be O, got others in {self.root.name}; "
                f"{remedy}"
            )
        return self.scheme


def _joined(sentences: Sequence[_Sentence], scheme: Scheme) -> tuple[str, list[Span], int]:
    """Return the text of some sentences, its spans, and the number of tags that break the scheme."""
    text, spans, broken = "", [], 0
    for sentence in sentences:
        line, places = "", []
        for token in sentence.tokens:
            line += " " if line and token else ""
            places.append((len(text) + len(line), len(text) + len(line) + len(token)))
            line += token
        found, wrong = tag_schemes.find_entities(sentence.tags, scheme)
        spans += [Span(places[entity.first][0], places[entity.last][1], entity.label) for entity in found]
        broken += wrong
        text += f"{line}\n"
    return text.removesuffix("\n"), spans, broken
