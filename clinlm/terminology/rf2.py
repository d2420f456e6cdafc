"""Terms from the descriptions of SNOMED CT in Release Format 2."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, final

from clinlm.config.errors import ConfigError, DataError
from clinlm.terminology.base import Term, TermSource, read_cells

FULLY_SPECIFIED, SYNONYM = "900000000000003001", "900000000000013009"

_TAG = re.compile(r"(.*\S)\s*\(([^()]+)\)\s*", re.DOTALL)
_DESCRIPTION = 9
_CONCEPT = 5


class _Row(NamedTuple):
    """The columns of a description that are used."""

    time: str
    active: bool
    concept: str
    language: str
    kind: str
    term: str


@final
class Rf2(TermSource):
    """Names and synonyms of the concepts whose fully specified name ends in one of some semantic tags.

    Only active descriptions count; of several rows of one description (in a Full release) the one with the latest
    effectiveTime. A semantic tag, such as "disorder", is the last part in round brackets of a fully specified name; it
    is stripped from the name. Synonyms have none, so they follow their concept.

    Source: SNOMED CT Release File Specifications, sections 4.2.1 and 4.2.2. Tabs, a header, no quotes.
    Departs: reference sets are not read, so synonyms that are unacceptable in a dialect count too.

    Args:
        file: sct2_Description_Snapshot-*.txt, its name in the labeler's root, or a path; plain or .gz.
        tags: semantic tag -> label. Concepts with other tags are left out. Where concepts of two labels share a term,
            the label that comes first counts.
        languages: values of languageCode that count.
        kinds: values of typeId that count.
        concepts: sct2_Concept_Snapshot-*.txt. Descriptions of an inactive concept mostly stay active themselves, so
            without this file retired concepts count too.

    Raises:
        ConfigError: no tag, or a string instead of a list.
    """

    def __init__(
        self,
        file: str | Path,
        tags: Mapping[str, str],
        languages: Sequence[str] = ("en",),
        kinds: Sequence[str] = (FULLY_SPECIFIED, SYNONYM),
        concepts: str | Path | None = None,
    ) -> None:
        if not tags:
            raise ConfigError("tags must select concepts, got none; set {disorder: DISEASE, finding: SYMPTOM}")
        if isinstance(languages, str) or isinstance(kinds, str):
            raise ConfigError("languages and kinds must be lists, got a string; set [en], [900000000000013009]")
        self.file, self.concepts = Path(file), None if concepts is None else Path(concepts)
        self.tags = {str(tag): str(label) for tag, label in tags.items()}
        self.languages, self.kinds = tuple(languages), tuple(map(str, kinds))

    def files(self, root: Path) -> Sequence[Path]:
        return (root / self.file, *(() if self.concepts is None else (root / self.concepts,)))

    def read(self, root: Path) -> Iterator[Term]:
        latest = self._descriptions(root / self.file)
        retired = set() if self.concepts is None else _retired(root / self.concepts)
        labels = {}
        for row in latest:
            match = _TAG.fullmatch(row.term) if row.kind == FULLY_SPECIFIED else None
            if match and match[2] in self.tags and row.concept not in retired:
                labels[row.concept] = self.tags[match[2]]
        kept = [row for row in latest if row.concept in labels and row.kind in self.kinds]
        for label in dict.fromkeys(self.tags.values()):
            for row in kept:
                if labels[row.concept] == label:
                    yield Term(_without_tag(row), label)

    def _descriptions(self, path: Path) -> list[_Row]:
        """Return the active descriptions of the languages that count, each once."""
        latest: dict[str, _Row] = {}
        for cells in _body(path, _DESCRIPTION):
            row = _Row(cells[1], cells[2] == "1", cells[4], cells[5], cells[6], cells[7])
            if row.language in self.languages and (cells[0] not in latest or latest[cells[0]].time <= row.time):
                latest[cells[0]] = row
        return [row for row in latest.values() if row.active]


def _body(path: Path, width: int) -> Iterator[list[str]]:
    """Yield the rows below the header."""
    body = read_cells(path, "\t", width)
    header = next(body, None)
    if header is None or header[0] != "id":
        raise DataError(
            f"an RF2 file must begin with a header whose first column is id, got {path.name}; set another file"
        )
    yield from body


def _retired(path: Path) -> set[str]:
    """Return the concepts whose latest row is inactive."""
    latest: dict[str, tuple[str, bool]] = {}
    for concept, time, active, *_ in _body(path, _CONCEPT):
        if concept not in latest or latest[concept][0] <= time:
            latest[concept] = time, active == "1"
    return {concept for concept, (_, active) in latest.items() if not active}


def _without_tag(row: _Row) -> str:
    match = _TAG.fullmatch(row.term) if row.kind == FULLY_SPECIFIED else None
    return (match[1] if match else row.term).strip()
