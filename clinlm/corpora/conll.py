"""Tokens and their tags, one a line, as the shared tasks of CoNLL have them."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, final, get_args

from clinlm.corpora import tag_schemes
from clinlm.corpora.base import Corpus, Records, count_notices, digest_files
from clinlm.corpora.span_records import SpanDocument, span_records
from clinlm.corpora.split import split_files
from clinlm.corpora.tag_schemes import Scheme, Tag
from clinlm.files.plain_text import read_lines
from clinlm.terminology.spans import Span

Choice = Literal["auto", "io", "iob1", "iob2", "iobes", "bilou", "bmes"]

_BREAK, _SPACES = "-DOCSTART-", " \t"
_LABELS = 100
"""More labels than any corpus of entities has: the column of tags is not one."""


@dataclass(slots=True)
class _Sentence:
    tokens: list[str] = field(default_factory=list, repr=False)
    tags: list[Tag] = field(default_factory=list, repr=False)


@dataclass(slots=True)
class _Document:
    """The name that the file gives it, "" for none, and its sentences."""

    name: str = ""
    sentences: list[_Sentence] = field(default_factory=list, repr=False)


@final
class Conll(Corpus):
    """One record per document of files that hold a token and its tag a line, and an empty line after each sentence.

    A text is its tokens with one space between them, its sentences with a line end between them: how it was spaced is
    not in such files. Spans are exact in that text.

    Lines with a tab are parted at tabs, others at spaces; other white space belongs to tokens. A line that begins with
    -DOCSTART-, or with `marker`, begins a document; what follows the marker is its name, and then its group, so that a
    document that is in several files does not straddle a split. A file that marks nothing, or only its own
    beginning (as Label Studio does), has no documents: there `sentences` consecutive sentences make one, so that
    sentences that belong together mostly stay together.

    Tags are IOB1, IOB2 (BIO), IOBES, BILOU, BMES or IO, also without labels (then all are ENTITY), or labels alone. All
    are read as by conlleval (`clinlm.corpora.tag_schemes.find_entities`); tags that break the scheme are counted.

    id = the name, or the split or file and a number; no attributes. The rest is `clinlm.corpora.span_records`.

    Args:
        root: the file, plain or gzip; or the folder that `files` lie in.
        map: label of the file to label wanted, others are dropped; None keeps all as they are.
        files: split (train, validation, test) to the name of its file in `root`; None where root is the file.
        sentences: of a document where none are marked, > 0; None makes every sentence one.
        scheme: of all files; `auto` finds it by the prefixes that are used.
        token, tag: which columns these are, from 0; from the end where negative.
        marker: how lines begin that begin a document, beside -DOCSTART-, such as "# doc_id"; None for no others.

    Raises:
        ValueError: a setting out of its range.
    """

    def __init__(
        self,
        root: str | Path,
        map: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
        sentences: int | None = 8,
        scheme: Choice = "auto",
        token: int = 0,
        tag: int = -1,
        marker: str | None = None,
    ) -> None:
        if sentences is not None and sentences < 1:
            raise ValueError(f"a document has sentences; {sentences} came; set sentences to 1 or more, or null")
        if scheme not in get_args(Choice):
            raise ValueError(f"a scheme is one of {', '.join(get_args(Choice))}; {scheme!r} came; set one of them")
        if token == tag:
            raise ValueError(f"token and tag are two columns; {token} came for both; set another")
        if marker is not None and not marker.strip():
            raise ValueError("a marker has characters that can be seen; set marker to some, or to null")
        self.root: Path = Path(root)
        self.map = map
        self.files = files
        self.sentences = sentences
        self.scheme: Choice = scheme
        self.token, self.tag = token, tag
        self.marker = marker

    def records(self) -> Records:
        """See `Corpus.records`.

        Raises:
            ValueError: also when a line lacks a column, a token or a tag, or tags are of no scheme.
        """
        counts: Counter[str] = Counter()
        found = [
            (one, split) for path, split in self._paths() for one in self._documents(path, split or path.stem, counts)
        ]
        scheme = self._scheme([sentence.tags for one, _ in found for sentence in one.sentences])
        documents = []
        for one, split in found:
            text, spans, broken = _joined(one.sentences, scheme)
            counts["broken"] += broken
            documents.append(SpanDocument(one.name, one.name, text, spans, split))
        told = [
            (counts["empty"], "lines left out: no token that can be seen, and the tag O"),
            (counts["broken"], f"tags break the scheme {scheme}, and are read as conlleval does"),
        ]
        return span_records(documents, self.map, count_notices(told))

    def fingerprint(self) -> str:
        """See `Corpus.fingerprint`."""
        return digest_files([path for path, _ in self._paths()])

    def _paths(self) -> list[tuple[Path, str | None]]:
        found = split_files(self.root, self.files)
        if found[0][0].is_dir():
            raise ValueError(f"tokens and tags stand in files; {found[0][0]} is a folder; set files, or root to a file")
        return found

    def _documents(self, path: Path, prefix: str, counts: Counter[str]) -> Iterator[_Document]:
        documents = self._read(path, counts)
        if len(documents) == 1 and not documents[0].name:
            size, every = self.sentences or 1, documents[0].sentences
            documents = [_Document("", every[start : start + size]) for start in range(0, len(every), size)]
        for number, one in enumerate(documents, start=1):
            yield _Document(one.name or f"{prefix}-{number}", one.sentences)

    def _read(self, path: Path, counts: Counter[str]) -> list[_Document]:
        """The documents that the file marks; before the first mark, one of no name."""
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
        return [one for one in documents if one.sentences]

    def _name(self, line: str) -> str:
        """The name of the document that the line begins, "" for one of no name."""
        marked = self.marker is not None and line.startswith(self.marker)
        return line.removeprefix(self.marker or "").strip(" \t=:") if marked else ""

    def _empty(self, tag: str, columns: int, place: str) -> str:
        """What stands for a token that cannot be seen: nothing, and only outside of entities."""
        if columns < 2 or not tag:
            raise ValueError(
                f"a line has a token in column {self.token} and a tag in column {self.tag}; {place} has {columns:,} "
                "columns; set token and tag, or marker where the line begins a document"
            )
        if tag != "O":
            raise ValueError(f"a token of an entity can be seen; that of {place} cannot; repair it")
        return ""

    def _scheme(self, sentences: Sequence[Sequence[Tag]]) -> Scheme:
        """The scheme set, or found; checked against the tags."""
        remedy = "set tag to the column of tags, and scheme"
        tags = {tag for one in sentences for tag in one}
        labels, prefixes = {tag.label for tag in tags}, {tag.prefix for tag in tags}
        if len(labels) > _LABELS:
            raise ValueError(f"tags have at most {_LABELS} labels; {self.root.name} has {len(labels):,}; {remedy}")
        if self.scheme == "auto":
            try:
                return tag_schemes.recognize_scheme(sentences)
            except ValueError as error:
                raise ValueError(f"{error}; {self.root.name} has others; {remedy}") from None
        allowed = {*tag_schemes.SCHEMES[self.scheme], "O", *([""] if self.scheme == "io" else [])}
        if prefixes - allowed:
            raise ValueError(
                f"tags of the scheme {self.scheme} begin with {', '.join(tag_schemes.SCHEMES[self.scheme])} or are O; "
                f"{self.root.name} has others; {remedy}"
            )
        return self.scheme


def _joined(sentences: Sequence[_Sentence], scheme: Scheme) -> tuple[str, list[Span], int]:
    """The text of some sentences, the spans in it, and how many tags break the scheme."""
    text, spans, broken = "", [], 0
    for one in sentences:
        line, places = "", []
        for token in one.tokens:
            line += " " if line and token else ""
            places.append((len(text) + len(line), len(text) + len(line) + len(token)))
            line += token
        found, wrong = tag_schemes.find_entities(one.tags, scheme)
        spans += [Span(places[run.first][0], places[run.last][1], run.label) for run in found]
        broken += wrong
        text += f"{line}\n"
    return text.removesuffix("\n"), spans, broken
