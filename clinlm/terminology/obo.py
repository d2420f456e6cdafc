"""Terms and lexicons from an ontology in OBO format, such as the Symptom Ontology.

Obsolete terms and terms without a parent are left out: the root names the category, not a symptom.
"""

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

_SYNONYM = re.compile(r'synonym: *"((?:[^"\\]|\\.)*)" +([A-Z]+)\b')
_OBSOLETE = re.compile(r"is_obsolete: *true\b")
_ESCAPED = re.compile(r"\\(.)")
_COMMENT = re.compile(r"(?<!\\) !.*")


class OboTerm(NamedTuple):
    """A term that is in use and has a parent: its name, and (synonym, scope) pairs."""

    name: str
    synonyms: tuple[tuple[str, str], ...]

    def spellings(self, scopes: Sequence[str]) -> Iterator[str]:
        """Yield the name and the synonyms of these scopes."""
        yield self.name
        yield from (synonym for synonym, scope in self.synonyms if scope in scopes)


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
        for term in read_obo(root / self.file):
            yield from (Term(spelling, self.label) for spelling in term.spellings(self.scopes))


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
        terms = list(read_obo(self.path))
        if not terms:
            raise DataError(
                f"an ontology must have terms with a parent (is_a), got none in {self.path.name}; set another path"
            )
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

    def fingerprint(self) -> str:
        self._require_file()
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _require_file(self) -> None:
        if not self.path.is_file():
            raise MissingFileError(
                f"a lexicon must be an .obo file, got {self.path}, which does not exist; set task.corpus.lexicon.path"
            )


def read_obo(path: Path) -> Iterator[OboTerm]:
    """Yield the terms of an OBO file that are not obsolete and have a parent, in the order of the file.

    Raises:
        MissingFileError: the file does not exist.
        DataError: it is not UTF-8.
    """
    for stanza in _stanzas(path):
        names = [_plain(_COMMENT.sub("", line[5:])) for line in stanza if line.startswith("name:")]
        child = any(line.startswith("is_a:") for line in stanza)
        if names and names[0] and child and not any(map(_OBSOLETE.match, stanza)):
            synonyms = [match for line in stanza if (match := _SYNONYM.match(line))]
            yield OboTerm(names[0], tuple((_plain(match[1]), match[2]) for match in synonyms))


def _stanzas(path: Path) -> Iterator[list[str]]:
    """Yield the lines of each [Term]."""
    stanza: list[str] | None = None
    for line in read_lines(path):
        if line.startswith("["):
            if stanza is not None:
                yield stanza
            stanza = [] if line.strip() == "[Term]" else None
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
