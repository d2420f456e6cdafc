"""CoNLL: one token and its tag per line."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, final, get_args

from clinlm.config.errors import ConfigError, DataError
from clinlm.corpora import tag_schemes, tag_spellings
from clinlm.corpora.base import Corpus, Records, count_notices, digest_files
from clinlm.corpora.conll_lines import Lines, read_conll_lines
from clinlm.corpora.span_records import SpanDocument, span_records
from clinlm.corpora.split import split_files
from clinlm.corpora.tag_schemes import Scheme, Tag
from clinlm.corpora.tag_spellings import OUTSIDE, is_tag
from clinlm.terminology.spans import Span

SchemeSetting = Literal["auto", "io", "iob1", "iob2", "iobes", "bilou", "bmes"]

_DEFAULTS = 0, (-1,)
_NUMBER = re.compile(r"-?[0-9]*\.?[0-9]+|_|-")
_LABELS = 100
"""More labels than any corpus of entities has: the wrong column is read as tags."""


@dataclass(slots=True)
class _Sentence:
    """The tokens of a sentence, and for each the text of its tags in every column of tags."""

    tokens: list[str] = field(default_factory=list, repr=False)
    tags: list[list[str]] = field(default_factory=list, repr=False)


@dataclass(slots=True)
class _Document:
    """The document's name in the file, "" for none, and its sentences."""

    name: str = ""
    sentences: list[_Sentence] = field(default_factory=list, repr=False)


@dataclass(slots=True)
class _Seen:
    """What the files hold.

    Attributes:
        places: the text of every tag -> where it is first.
        hidden: the text of every tag of an invisible token -> where it is first.
    """

    counts: Counter[str] = field(default_factory=Counter)
    places: dict[str, str] = field(default_factory=dict, repr=False)
    hidden: dict[str, str] = field(default_factory=dict, repr=False)


@final
class Conll(Corpus):
    """One record per document of files with one token and tag per line, and an empty line after each sentence.

    The text joins tokens with spaces and sentences with line ends, since the original spacing is not in such files.
    Spans are exact in that text.

    Lines with a tab are split at tabs, others at spaces; other white space belongs to tokens. CSV, headers and comments
    are recognised (`clinlm.corpora.conll_lines`). A line that begins with -DOCSTART-, # newdoc or `marker` begins a
    document; the rest of the line is its name and group, so that a document in several files does not span two splits.
    A file without marks, or with only one at its beginning (as Label Studio writes), has no documents: then `sentences`
    consecutive sentences form one, so that sentences that belong together mostly stay together.

    Tags are IOB1, IOB2 (BIO), IOBES, BILOU, BMES or IO, also without labels (then all are ENTITY), or labels alone, in
    any certain spelling (`clinlm.corpora.tag_spellings`). All are read as by conlleval
    (`clinlm.corpora.tag_schemes.find_entities`); tags that break the scheme are counted.

    id = the name, or the split or file and a number; no attributes. See `clinlm.corpora.span_records` for the rest.

    Args:
        root: the file, plain or gzip; or the folder of `files`.
        map: label of the file -> label of the records, others are dropped; None keeps all.
        files: split (train, validation, test) -> name of its file in `root`; None if root is the file.
        sentences: per document where none are marked, > 0; None makes every sentence a document.
        scheme: of all files; `auto` detects it by the prefixes.
        token: its column, from 0; from the end if negative. A header that names the column overrides the default.
        tag: column of its tags, likewise, or several, for nested entities.
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
        tag: int | Sequence[int] = -1,
        marker: str | None = None,
    ) -> None:
        if sentences is not None and sentences < 1:
            raise ConfigError(f"sentences must be >= 1 or null, got {sentences}")
        if scheme not in get_args(SchemeSetting):
            raise ConfigError(f"scheme must be one of {', '.join(get_args(SchemeSetting))}, got {scheme!r}")
        tags = (tag,) if isinstance(tag, int) else tuple(tag)
        if token in tags or not tags:
            raise ConfigError(f"token and tag must be different columns, got {token} and {tag}; set another")
        if marker is not None and not marker.strip():
            raise ConfigError("marker must have visible characters, got white space; set null for none")
        self.root: Path = Path(root)
        self.map = map
        self.files = files
        self.sentences = sentences
        self.scheme: SchemeSetting = scheme
        self.token, self.tags = token, tags
        self.marker = marker

    def records(self) -> Records:
        """See `Corpus.records`.

        Raises:
            DataError: also if a line lacks a column, a token or a tag, or tags fit no scheme.
        """
        seen = _Seen()
        found = [
            (document, split)
            for path, split in split_files(self.root, self.files)
            for document in self._documents(path, split or path.stem, seen)
        ]
        spelt = tag_spellings.read_tags(seen.places, None if self.scheme == "auto" else self.scheme != "io")
        for tag, place in seen.hidden.items():
            if spelt[tag] != (OUTSIDE,):
                raise DataError(f"a token of an entity must be visible, that of {place} is not; repair it")
        layers = [[_layers(sentence, spelt) for sentence in document.sentences] for document, _ in found]
        scheme = self._scheme([layer for own in layers for sentence in own for layer in sentence])
        documents, counts = [], seen.counts
        for (document, split), own in zip(found, layers, strict=True):
            text, spans, broken = _joined(document.sentences, own, scheme)
            counts["broken"] += broken
            documents.append(SpanDocument(document.name, document.name, text, spans, split))
        totals = [
            (counts["headers"], "headers not read"),
            (counts["comments"], "comments not read: set marker if one begins a document"),
            (counts["columns"], "files have their tags in another than the last column, which has numbers only"),
            (counts["others"], "more columns hold tags, and are not read: set tag to several, such as [1,2]"),
            (counts["empty"], "lines left out: no visible token, and no entity"),
            (counts["broken"], f"tags break the scheme {scheme}, and are read as conlleval does"),
        ]
        return span_records(documents, self.map, count_notices(totals))

    def fingerprint(self) -> str:
        return digest_files([path for path, _ in split_files(self.root, self.files)])

    def _documents(self, path: Path, prefix: str, seen: _Seen) -> Iterator[_Document]:
        documents = self._read(path, seen)
        if len(documents) == 1 and not documents[0].name:
            size, every = self.sentences or 1, documents[0].sentences
            documents = [_Document("", every[start : start + size]) for start in range(0, len(every), size)]
        for number, document in enumerate(documents, start=1):
            yield _Document(document.name or f"{prefix}-{number}", document.sentences)

    def _read(self, path: Path, seen: _Seen) -> list[_Document]:
        """Return the documents of a file; the one before the first mark has no name."""
        lines = read_conll_lines(path, self.marker)
        seen.counts.update(lines.counts)
        token_column, tag_columns = self._columns(lines, seen.counts)
        documents, sentence = [_Document()], _Sentence()
        for line in lines.lines:
            if not line.cells:
                documents.append(_Document(line.name))
                continue
            place = f"{path.name} line {line.number:,}"
            if max(token_column, *tag_columns) >= len(line.cells) or -min(token_column, *tag_columns) > len(line.cells):
                raise _lacking(place, line.cells, token_column, tag_columns)
            token, tags = line.cells[token_column].strip(" "), [line.cells[n].strip(" ") for n in tag_columns]
            if len(line.cells) < 2 or not all(tags):
                raise _lacking(place, line.cells, token_column, tag_columns)
            if not (token and token.isascii() and token.isprintable()) and not _visible(token):
                token = ""
                seen.counts["empty"] += 1
                seen.hidden |= {tag: place for tag in tags if tag not in seen.hidden}
            if line.begins or not documents[-1].sentences:
                sentence = _Sentence()
                documents[-1].sentences.append(sentence)
            sentence.tokens.append(token)
            sentence.tags.append(tags)
            for tag in tags:
                seen.places.setdefault(tag, place)
        return [document for document in documents if document.sentences]

    def _columns(self, lines: Lines, counts: Counter[str]) -> tuple[int, Sequence[int]]:
        """Return the columns of the token and of its tags: those set, or else named by a header, or found."""
        token, tags = self.token, self.tags
        if (token, tags) == _DEFAULTS and lines.tokens is not None and lines.tags is not None:
            return lines.tokens, (lines.tags,)
        if tags != _DEFAULTS[1]:
            return token, tags
        rows = [line.cells for line in lines.lines if line.cells]
        if len({len(cells) for cells in rows}) != 1 or len(rows[0]) < 3:
            return token, tags
        held = [{cells[n].strip(" ") for cells in rows} for n in range(len(rows[0]))]
        tagged = [n for n, own in enumerate(held) if n != token and own != {"O"} and all(map(is_tag, own))]
        if all(map(_NUMBER.fullmatch, held[-1])) and len(tagged) == 1:
            counts["columns"] += 1
            return token, tagged
        counts["others"] += len(set(tagged) - {len(held) - 1})
        return token, tags

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


def _lacking(place: str, cells: Sequence[str], token: int, tags: Sequence[int]) -> DataError:
    return DataError(
        f"a line must have a token in column {token} and a tag in column {', '.join(map(str, tags))}, {place} has "
        f"{len(cells):,} columns; set token and tag, or marker if the line begins a document"
    )


def _visible(token: str) -> bool:
    """Return whether a token is more than white space and format characters, such as a zero-width space."""
    return any(unicodedata.category(c) != "Cf" and not c.isspace() for c in token)


def _layers(sentence: _Sentence, spelt: Mapping[str, Sequence[Tag]]) -> list[list[Tag]]:
    """Return the tags of a sentence, one per token in every layer.

    Every column is a layer; where a token has several tags in one, it has a layer per label.
    """
    layers = []
    for column in range(len(sentence.tags[0])):
        found = [spelt[tags[column]] for tags in sentence.tags]
        if all(len(own) == 1 for own in found):
            layers.append([own[0] for own in found])
        else:
            for label in dict.fromkeys(tag.label for own in found for tag in own if tag.prefix != "O"):
                layers.append([next((tag for tag in own if tag.label == label), OUTSIDE) for own in found])
    return layers


def _joined(
    sentences: Sequence[_Sentence], layers: Sequence[Sequence[Sequence[Tag]]], scheme: Scheme
) -> tuple[str, list[Span], int]:
    """Return the text of some sentences, its spans, and the number of tags that break the scheme."""
    text, spans, broken = "", [], 0
    for sentence, own in zip(sentences, layers, strict=True):
        line, places = "", []
        for token in sentence.tokens:
            line += " " if line and token else ""
            places.append((len(text) + len(line), len(text) + len(line) + len(token)))
            line += token
        for layer in own:
            found, wrong = tag_schemes.find_entities(layer, scheme)
            spans += [Span(places[entity.first][0], places[entity.last][1], entity.label) for entity in found]
            broken += wrong
        text += f"{line}\n"
    return text.removesuffix("\n"), spans, broken
