"""A vocabulary from the descriptions of SNOMED CT in Release Format 2."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, final

from clinlm.terminology.base import Term, Vocabulary, read_cells

FULLY_SPECIFIED, SYNONYM = "900000000000003001", "900000000000013009"

_TAG = re.compile(r"(.*\S)\s*\(([^()]+)\)\s*", re.DOTALL)
_DESCRIPTION = 9
_CONCEPT = 5


class _Row(NamedTuple):
    """A description, but for what is not needed of it."""

    time: str
    active: bool
    concept: str
    language: str
    kind: str
    term: str


@final
class Rf2(Vocabulary):
    """Names and synonyms of the concepts whose fully specified name ends in one of some semantic tags.

    Only active descriptions count; of several rows of one description (a Full release has them) the one of the latest
    effectiveTime. A semantic tag is the last thing in round brackets of a fully specified name, such as "disorder"; it
    is stripped from the name. Synonyms carry none, so they follow their concept.

    Source: SNOMED CT Release File Specifications, sections 4.2.1 and 4.2.2. Tabs, a header, no quotes.
    Departs: reference sets are not read, so synonyms that a dialect calls unacceptable count too.

    Args:
        file: sct2_Description_Snapshot-*.txt, its name in the labeler's root, or a path; plain or .gz.
        tags: semantic tag -> label. Concepts with other tags are left out. Where concepts of two labels share a term,
            the label that comes first counts.
        languages: values of languageCode that count.
        kinds: values of typeId that count.
        concepts: sct2_Concept_Snapshot-*.txt. Descriptions of an inactive concept mostly stay active themselves, so
            without it retired concepts count too.

    Raises:
        ValueError: no tag, or a list that is one string.
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
            raise ValueError("tags say which concepts count; none came; set {disorder: DISEASE, finding: SYMPTOM}")
        if isinstance(languages, str) or isinstance(kinds, str):
            raise ValueError("languages and kinds are lists; a string came; set [en], [900000000000013009]")
        self.file, self.concepts = Path(file), None if concepts is None else Path(concepts)
        self.tags = {str(tag): str(label) for tag, label in tags.items()}
        self.languages, self.kinds = tuple(languages), tuple(map(str, kinds))

    def files(self, root: Path) -> Sequence[Path]:
        """See `Vocabulary.files`."""
        return (root / self.file, *(() if self.concepts is None else (root / self.concepts,)))

    def read(self, root: Path) -> Iterator[Term]:
        """See `Vocabulary.read`."""
        latest = self._descriptions(root / self.file)
        retired = set() if self.concepts is None else _retired(root / self.concepts)
        labels = {}
        for one in latest:
            match = _TAG.fullmatch(one.term) if one.kind == FULLY_SPECIFIED else None
            if match and match[2] in self.tags and one.concept not in retired:
                labels[one.concept] = self.tags[match[2]]
        counted = [one for one in latest if one.concept in labels and one.kind in self.kinds]
        for label in dict.fromkeys(self.tags.values()):
            for one in counted:
                if labels[one.concept] == label:
                    yield Term(_untagged(one), label)

    def _descriptions(self, path: Path) -> list[_Row]:
        """The active ones, each once, of the languages that count."""
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
        raise ValueError(f"a file of RF2 begins with a header, the first column being id; {path.name} does not")
    yield from body


def _retired(path: Path) -> set[str]:
    """The concepts whose latest row is inactive."""
    latest: dict[str, tuple[str, bool]] = {}
    for concept, time, active, *_ in _body(path, _CONCEPT):
        if concept not in latest or latest[concept][0] <= time:
            latest[concept] = time, active == "1"
    return {concept for concept, (_, active) in latest.items() if not active}


def _untagged(row: _Row) -> str:
    match = _TAG.fullmatch(row.term) if row.kind == FULLY_SPECIFIED else None
    return (match[1] if match else row.term).strip()
