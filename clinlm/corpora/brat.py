"""brat: pairs of texts (.txt) and stand-off annotations (.ann)."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, final, get_args

from clinlm.config.errors import ConfigError, DataError, MissingFileError
from clinlm.corpora.base import Corpus, Records, count_notices, digest_files
from clinlm.corpora.span_records import SpanDocument, span_records
from clinlm.corpora.split import split_paths
from clinlm.corpora.standoff import Annotation, Fragment, locate, standoff_notices
from clinlm.files.columns import shown
from clinlm.files.plain_text import read_lines, read_text
from clinlm.terminology.spans import Span

Discontinuous = Literal["hull", "first", "longest", "drop"]
Group = Literal["document", "folder"]

_ENTITY = re.compile(r"(T\S*)\t(\S+) ([0-9]{1,15} [0-9]{1,15}(?:;[0-9]{1,15} [0-9]{1,15})*) *(?:\t(.*))?")
_OTHERS = "EARMN*#"
_ENDINGS = (".txt", ".ann")
_SHOWN = 5


@final
class Brat(Corpus):
    """One record per pair of NAME.txt and NAME.ann in a folder and the folders in it, in the order of their names.

    Only entities (lines T) are read. Events, relations, attributes, normalisations and notes are counted and left out.
    Offsets are checked against the words in the .ann, ignoring differences in white space; their unit is detected
    (`clinlm.corpora.standoff.locate`). An entity without its words at its offsets is dropped, and a notice names it.
    Nested and overlapping entities stay.

    An entity of several fragments becomes one span, as `discontinuous` selects, and is counted: `hull`, from its first
    character to its last; `first`, its first fragment; `longest`, its longest, of equal ones the first; `drop`, none.

    id = the path below the folder without its ending; no attributes. See `clinlm.corpora.span_records` for the rest.

    Args:
        root: the folder. Hidden files are not read.
        map: label of the file -> label of the records, others are dropped; None keeps all.
        discontinuous: how to read an entity of several fragments.
        group: what must not span two splits: the document, or its folder, such as a patient's.
        files: split (train, validation, test) -> name of its folder in `root`; None draws splits later.
        ignore: names of files that are not part of the corpus, such as README.txt; * matches any characters.

    Raises:
        ConfigError: a setting is not among its choices.
    """

    def __init__(
        self,
        root: str | Path,
        map: Mapping[str, str] | None = None,
        discontinuous: Discontinuous = "hull",
        group: Group = "document",
        files: Mapping[str, str] | None = None,
        ignore: Sequence[str] = (),
    ) -> None:
        if isinstance(ignore, str):
            raise ConfigError(f"ignore must be a list of names, got {ignore!r}; set [{ignore}]")
        for name, value, choices in (
            ("discontinuous", discontinuous, get_args(Discontinuous)),
            ("group", group, get_args(Group)),
        ):
            if value not in choices:
                raise ConfigError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
        self.root: Path = Path(root)
        self.map = map
        self.discontinuous: Discontinuous = discontinuous
        self.group: Group = group
        self.files = files
        self.ignore = (".*", *ignore)

    def records(self) -> Records:
        """See `Corpus.records`.

        Raises:
            MissingFileError: also if a file of a pair is missing.
            DataError: also if a line of an .ann is not in brat's format.
        """
        counts: Counter[str] = Counter()
        documents, checked = [], []
        for path, split in self._pairs():
            name = path.relative_to(self.root).with_suffix("").as_posix()
            annotations = _annotations(path.with_suffix(".ann"), counts)
            placed = locate(read_text(path), annotations)
            checked.append((name, annotations, placed))
            both = [(entity, found) for entity, found in zip(annotations, placed.fragments, strict=True) if found]
            split_labels = [entity.label for entity, found in both if len(found) > 1]
            counts["discontinuous"] += sum(self.map is None or label in self.map for label in split_labels)
            spans = [Span(*part, entity.label) for entity, found in both for part in self._merged(found)]
            group = name if self.group == "document" else path.relative_to(self.root).parent.as_posix()
            documents.append(SpanDocument(name, group, placed.text, spans, split))
        totals = [
            (counts["others"], "lines not read: events, relations, attributes and notes"),
            (counts["discontinuous"], f"discontinuous entities, read as: {self.discontinuous}"),
        ]
        found = count_notices(totals)
        return span_records(documents, self.map, [*found, *standoff_notices(checked)])

    def fingerprint(self) -> str:
        """See `Corpus.fingerprint`; it includes the paths of the files, which name documents and groups."""
        pairs = [path for path, _ in self._pairs()]
        places = json.dumps([path.relative_to(self.root).as_posix() for path in pairs])
        halves = digest_files([path.with_suffix(ending) for path in pairs for ending in (".txt", ".ann")])
        return hashlib.sha256((places + halves).encode()).hexdigest()

    def _pairs(self) -> list[tuple[Path, str | None]]:
        """Return the texts and their splits."""
        found = []
        for folder, split in split_paths(self.root, self.files):
            if not folder.is_dir():
                raise MissingFileError(f"root must be a folder of .txt and .ann files, got {folder}; set it to one")
            there = {path for path in folder.rglob("*") if path.suffix in _ENDINGS and not self._ignored(path)}
            lacking = sorted(
                half for path in there for ending in _ENDINGS if (half := path.with_suffix(ending)) not in there
            )
            if lacking or not there:
                names = shown([path.relative_to(folder).as_posix() for path in lacking[:_SHOWN]]) or "any"
                raise MissingFileError(
                    f"files must be pairs NAME.txt and NAME.ann, {folder} lacks {names} ({len(lacking):,} in all); "
                    "add them (a text without entities has an empty .ann), or set ignore to the other files"
                )
            found += [(path, split) for path in sorted(there) if path.suffix == ".txt"]
        return found

    def _ignored(self, path: Path) -> bool:
        return any(fnmatchcase(path.name, pattern) for pattern in self.ignore)

    def _merged(self, fragments: Sequence[Fragment]) -> list[Fragment]:
        """Return the fragments of an entity as `discontinuous` selects them."""
        if len(fragments) == 1 or self.discontinuous == "first":
            return [fragments[0]]
        if self.discontinuous == "hull":
            return [(fragments[0][0], fragments[-1][1])]
        if self.discontinuous == "longest":
            return [max(fragments, key=lambda fragment: fragment[1] - fragment[0])]
        return []


def _annotations(path: Path, counts: Counter[str]) -> list[Annotation]:
    found = []
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        if line[0] in _OTHERS:
            counts["others"] += 1
            continue
        entity = _ENTITY.fullmatch(line)
        if entity is None:
            raise DataError(
                f"a line must be T1, a tab, a label and offsets (0 4 or 0 4;6 9), a tab and words, got another in "
                f"{path.name} line {number:,}; repair it"
            )
        name, label, offsets, words = entity.groups()
        fragments = tuple((int(a), int(b)) for a, b in (pair.split() for pair in offsets.split(";")))
        found.append(Annotation(name, label, fragments, words))
    return found
