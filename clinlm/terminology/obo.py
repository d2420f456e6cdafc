"""Terms and lexicons from an ontology in OBO format, such as the Symptom Ontology; `read_obo` has the rules."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, final

from clinlm.config.errors import ConfigError, DataError, MissingFileError
from clinlm.files.plain_text import read_lines
from clinlm.terminology.base import Term, TermSource
from clinlm.terminology.lexicon import Lexicon, normalize_term

SCOPES = ("EXACT", "BROAD", "NARROW", "RELATED")

_SYNONYM = re.compile(r'"((?:[^"\\]|\\.)*)"\s*([A-Z]*)')
_SYNONYM_TAGS = {"synonym": "", **{f"{scope.lower()}_synonym": scope for scope in SCOPES}}
"""The scope that a tag tells, "" for none; with a scope in it, as OBO 1.0 wrote them."""

_PARENT_TAGS = ("is_a", "intersection_of", "relationship")
_FOREIGN = ("<", "{", "Prefix(", "Ontology(")
_QUALIFIERS = re.compile(r"\s*\{[^{}]*=[^{}]*\}$")
_ESCAPED = re.compile(r"\\(.)")
_COMMENT = re.compile(r"(?<!\\) !.*")


class OboTerm(NamedTuple):
    """A term that is in use: its name, and (synonym, scope) pairs."""

    name: str
    synonyms: tuple[tuple[str, str], ...]

    def spellings(self, scopes: Sequence[str]) -> Iterator[str]:
        """Yield the name and the synonyms of these scopes."""
        yield self.name
        yield from (synonym for synonym, scope in self.synonyms if scope in scopes)


class OboFile(NamedTuple):
    """The terms of a file, and counts of what is left out or read by a rule."""

    terms: tuple[OboTerm, ...]
    notices: tuple[str, ...]


class _Stanza(NamedTuple):
    """A term as in its file.

    Attributes:
        parents: ids of the terms that it is below.
        unscoped: number of synonyms without scope.
        unread: number of synonyms without text in quotes.
    """

    id: str
    name: str
    synonyms: tuple[tuple[str, str], ...]
    parents: tuple[str, ...]
    obsolete: bool
    unscoped: int
    unread: int


@final
class Obo(TermSource):
    """Names and synonyms of the terms of an OBO file, read line by line.

    Args:
        file: its name in the labeler's root, or a path; plain or .gz.
        label: of all terms.
        scopes: which synonyms count; some of EXACT, BROAD, NARROW, RELATED. An empty list keeps names only.

    Raises:
        ConfigError: an unknown scope.
    """

    def __init__(self, file: str | Path, label: str, scopes: Sequence[str] = ("EXACT",)) -> None:
        self.file, self.label, self.scopes = Path(file), label, _checked_scopes(scopes)

    def files(self, root: Path) -> Sequence[Path]:
        return (root / self.file,)

    def read(self, root: Path) -> Iterator[Term]:
        for term in read_obo(root / self.file).terms:
            yield from (Term(spelling, self.label) for spelling in term.spellings(self.scopes))

    def notices(self, root: Path) -> Sequence[str]:
        return read_obo(root / self.file).notices


@final
class OboLexicon(Lexicon):
    """The terms of an OBO file as symptoms, with their synonyms.

    Each spelling also counts with a final s (fevers), as ontologies list no plurals. A spelling of two terms belongs to
    the term with that name, else to the term whose name sorts first.

    Args:
        path: the .obo file, plain or .gz.
        scopes: which synonyms count; some of EXACT, BROAD, NARROW, RELATED. An empty list keeps names only.

    Raises:
        ConfigError: an unknown scope.
    """

    def __init__(self, path: str | Path, scopes: Sequence[str] = ("EXACT",)) -> None:
        self.path, self.scopes = Path(path), _checked_scopes(scopes)

    def terms(self) -> Mapping[str, tuple[str, ...]]:
        self._require_file()
        terms = read_obo(self.path).terms
        if not terms:
            raise DataError(f"an ontology must have terms in use, got none in {self.path.name}; set another path")
        names = sorted({term.name for term in terms})
        spellings = ((term.name, normalize_term(way)) for term in terms for way in term.spellings(self.scopes))
        owner: dict[str, str] = {}
        for name, spelling in [*((name, normalize_term(name)) for name in names), *sorted(spellings)]:
            if spelling:
                owner.setdefault(spelling, name)
        for spelling, name in list(owner.items()):
            if not spelling.endswith("s"):
                owner.setdefault(f"{spelling}s", name)
        found: dict[str, list[str]] = {name: [] for name in sorted(owner.values())}
        for spelling, name in owner.items():
            found[name].append(spelling)
        return {name: tuple(own) for name, own in found.items()}

    def notices(self) -> Sequence[str]:
        return read_obo(self.path).notices

    def fingerprint(self) -> str:
        self._require_file()
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _require_file(self) -> None:
        if not self.path.is_file():
            raise MissingFileError(
                f"a lexicon must be an .obo file, got {self.path}, which does not exist; set task.corpus.lexicon.path"
            )


def read_obo(path: Path) -> OboFile:
    """Read the terms of an OBO file, in its order.

    Obsolete terms, terms without name, and roots are left out: terms that have no parent (is_a, intersection_of,
    relationship) but are one. In a flat list no term is a root. A synonym without scope is RELATED, as OBO 1.2 says.

    Raises:
        MissingFileError: the file does not exist.
        DataError: it is not UTF-8, or in another format.
    """
    stanzas = [_parsed(stanza) for stanza in _stanzas(path)]
    used = [stanza for stanza in stanzas if not stanza.obsolete and stanza.name]
    targets = {parent for stanza in stanzas for parent in stanza.parents}
    kept = [stanza for stanza in used if stanza.parents or stanza.id not in targets]
    obsolete = sum(stanza.obsolete for stanza in stanzas)
    counts = [
        (obsolete, f"of {len(stanzas):,} terms of {path.name} left out: obsolete"),
        (len(stanzas) - obsolete - len(used), f"of {len(stanzas):,} terms of {path.name} left out: without name"),
        (len(used) - len(kept), f"of {len(stanzas):,} terms of {path.name} left out: roots, which name a category"),
        (len(kept) - len({stanza.id for stanza in kept}), f"terms of {path.name} have the id of another"),
        (sum(stanza.unscoped for stanza in kept), f"synonyms of {path.name} have no scope, and are read as RELATED"),
        (sum(stanza.unread for stanza in kept), f"synonyms of {path.name} left out: no text in quotes"),
    ]
    notices = tuple(f"{count:,} {what}" for count, what in counts if count)
    return OboFile(tuple(OboTerm(stanza.name, stanza.synonyms) for stanza in kept), notices)


def _parsed(lines: Sequence[str]) -> _Stanza:
    """Parse the lines of a [Term]."""
    pairs = [(tag.strip(), value.strip()) for tag, _, value in (line.partition(":") for line in lines)]
    bare = [(tag, _QUALIFIERS.sub("", _COMMENT.sub("", value).strip())) for tag, value in pairs]
    first = dict(reversed(bare))
    written = [(_SYNONYM.match(value), scope) for tag, value in pairs if (scope := _SYNONYM_TAGS.get(tag)) is not None]
    found = [(match, scope) for match, scope in written if match is not None]
    scopes = [scope or (match[2] if match[2] in SCOPES else "") for match, scope in found]
    return _Stanza(
        first.get("id", ""),
        _plain(first.get("name", "")),
        tuple((_plain(match[1]), scope or "RELATED") for (match, _), scope in zip(found, scopes, strict=True)),
        tuple(parent for tag, value in bare if tag in _PARENT_TAGS for parent in value.split()[-1:]),
        first.get("is_obsolete", "").lower() in ("true", "1", "yes"),
        scopes.count(""),
        len(written) - len(found),
    )


def _stanzas(path: Path) -> Iterator[list[str]]:
    """Yield the lines of each [Term]."""
    stanza: list[str] | None = None
    for number, line in enumerate(read_lines(path)):
        if number == 0 and line.lstrip().startswith(_FOREIGN):
            raise DataError(
                f"an ontology must be in OBO format, got {path.name} in XML, JSON or OWL; convert it, for instance "
                "with robot convert --output NAME.obo"
            )
        if line.startswith("["):
            if stanza is not None:
                yield stanza
            stanza = [] if _COMMENT.sub("", line).strip() == "[Term]" else None
        elif stanza is not None:
            stanza.append(line)
    if stanza is not None:
        yield stanza


def _plain(written: str) -> str:
    """Return a text of the file without its escapes; \\n and \\W stand for white space."""
    return _ESCAPED.sub(lambda match: " " if match[1] in "nWt" else match[1], written).strip()


def _checked_scopes(scopes: Sequence[str]) -> tuple[str, ...]:
    unknown = [scopes] if isinstance(scopes, str) else sorted(set(scopes) - set(SCOPES))
    if unknown:
        raise ConfigError(f"scopes must be a list of {', '.join(SCOPES)}, got {', '.join(unknown)}; set [EXACT]")
    return tuple(scopes)
