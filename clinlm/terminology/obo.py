"""A vocabulary from an ontology in OBO format, such as the Symptom Ontology."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import final

from clinlm.files.plain_text import read_lines
from clinlm.terminology.base import Term, Vocabulary

SCOPES = ("EXACT", "BROAD", "NARROW", "RELATED")

_SYNONYM = re.compile(r'synonym: *"((?:[^"\\]|\\.)*)" +([A-Z]+)\b')
_ESCAPED = re.compile(r"\\(.)")
_COMMENT = re.compile(r"(?<!\\) !.*")


@final
class Obo(Vocabulary):
    """Names and synonyms of the terms of an OBO file.

    Obsolete terms are left out, and terms without a parent: the root is no symptom but the word for all of them. Read
    line by line, so that an ontology of any size is held once only.

    Args:
        file: its name in the labeler's root, or a path; plain or .gz.
        label: of all terms.
        scopes: which synonyms count; some of EXACT, BROAD, NARROW, RELATED. None of them leaves the names.

    Raises:
        ValueError: an unknown scope.
    """

    def __init__(self, file: str | Path, label: str, scopes: Sequence[str] = ("EXACT",)) -> None:
        unknown = [scopes] if isinstance(scopes, str) else sorted(set(scopes) - set(SCOPES))
        if unknown:
            raise ValueError(f"scopes is a list of {', '.join(SCOPES)}; {', '.join(unknown)} came; set [EXACT]")
        self.file, self.label, self.scopes = Path(file), label, tuple(scopes)

    def files(self, root: Path) -> Sequence[Path]:
        """See `Vocabulary.files`."""
        return (root / self.file,)

    def read(self, root: Path) -> Iterator[Term]:
        """See `Vocabulary.read`."""
        for stanza in _stanzas(root / self.file):
            obsolete = any(re.match(r"is_obsolete: *true\b", line) for line in stanza)
            if not obsolete and any(line.startswith("is_a:") for line in stanza):
                yield from (Term(way, self.label) for line in stanza for way in self._ways(line))

    def _ways(self, line: str) -> Iterator[str]:
        if line.startswith("name:"):
            yield _plain(_COMMENT.sub("", line[5:]))
        elif match := _SYNONYM.match(line):
            if match[2] in self.scopes:
                yield _plain(match[1])


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
