"""brat: pairs of texts (.txt) and stand-off annotations (.ann)."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, NamedTuple, final, get_args

from clinlm.config.errors import ConfigError, DataError, MissingFileError
from clinlm.corpora.base import Corpus, Records, count_notices, digest_files
from clinlm.corpora.offsets import Fragment
from clinlm.corpora.span_records import SpanDocument, span_records
from clinlm.corpora.split import split_paths
from clinlm.corpora.standoff import Annotated, Annotation, locate, standoff_notices
from clinlm.files.columns import shown
from clinlm.files.plain_text import read_lines, read_text
from clinlm.terminology.spans import Span

Discontinuous = Literal["hull", "first", "longest", "drop"]
Group = Literal["document", "folder"]

_OFFSETS = r"([0-9]{1,15} [0-9]{1,15}(?:;[0-9]{1,15} [0-9]{1,15})*)"
_ENTITY = re.compile(rf"(T\S*)\t(\S(?:[^\t]*\S)?) {_OFFSETS} *(?:\t(.*))?")
_SPACED = re.compile(rf"(T[0-9]+) (\S+) {_OFFSETS}(?: (.*))?")
"""A line that lost its tabs."""
_OTHERS = "EARMN*#"
_ENDINGS = (".txt", ".ann")
_SHOWN = 5


class _Pair(NamedTuple):
    text: Path
    annotations: Path
    split: str | None


@final
class Brat(Corpus):
    """One record per pair of NAME.txt and NAME.ann in a folder and the folders in it, in the order of their names.

    Only entities (lines T) are read. Events, relations, attributes, normalisations and notes are counted and left out.
    Offsets are checked against the words in the .ann, and what they count is detected
    (`clinlm.corpora.standoff.locate`). An entity without its words at its offsets is dropped, and a notice names it.
    Nested and overlapping entities stay. Endings may be in capitals.

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
        remote_allowed: False if a data use agreement forbids sending the notes to an outside service.

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
        remote_allowed: bool = True,
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
        self.remote_allowed = remote_allowed

    def records(self) -> Records:
        """See `Corpus.records`.

        Raises:
            MissingFileError: also if a file of a pair is missing.
            DataError: also if a line of an .ann is not in brat's format.
        """
        counts: Counter[str] = Counter()
        pairs = self._pairs()
        names = [pair.text.relative_to(self.root).with_suffix("").as_posix() for pair in pairs]
        annotated = []
        for name, pair in zip(names, pairs, strict=True):
            raw = read_text(pair.text)
            text = raw.removeprefix("\ufeff")
            annotated.append(Annotated(name, text, _annotations(pair.annotations, counts), marked=text != raw))
        located = locate(annotated)
        documents = []
        for name, pair, own, placed in zip(names, pairs, annotated, located, strict=True):
            both = [(entity, found) for entity, found in zip(own.annotations, placed.fragments, strict=True) if found]
            split_labels = [entity.label for entity, found in both if len(found) > 1]
            counts["discontinuous"] += sum(self.map is None or label in self.map for label in split_labels)
            spans = [Span(*part, entity.label) for entity, found in both for part in self._merged(found)]
            folder = pair.text.relative_to(self.root).parent.as_posix()
            group = name if self.group == "document" else folder
            documents.append(SpanDocument(name, group, placed.text, spans, pair.split))
        totals = [
            (counts["others"], "lines not read: events, relations, attributes and notes"),
            (counts["repeated"], "entities have the name of another of their document"),
            (counts["discontinuous"], f"discontinuous entities, read as: {self.discontinuous}"),
        ]
        return span_records(documents, self.map, [*count_notices(totals), *standoff_notices(annotated, located)])

    def fingerprint(self) -> str:
        """See `Corpus.fingerprint`; it includes the paths of the files, which name documents and groups."""
        pairs = self._pairs()
        places = json.dumps([pair.text.relative_to(self.root).as_posix() for pair in pairs])
        halves = digest_files([path for pair in pairs for path in (pair.text, pair.annotations)])
        return hashlib.sha256((places + halves).encode()).hexdigest()

    def _pairs(self) -> list[_Pair]:
        found = []
        for folder, split in split_paths(self.root, self.files):
            if not folder.is_dir():
                raise MissingFileError(f"root must be a folder of .txt and .ann files, got {folder}; set it to one")
            halves: dict[Path, dict[str, Path]] = {}
            for path in sorted(folder.rglob("*")):
                ending = path.suffix.lower()
                if ending in _ENDINGS and not self._ignored(path):
                    other = halves.setdefault(path.with_suffix(""), {}).setdefault(ending, path)
                    if other != path:
                        raise DataError(
                            f"a name must be that of one file, got {other.name} and {path.name}; remove one"
                        )
            lacking = [
                path.with_suffix(ending).relative_to(folder).as_posix()
                for path, own in halves.items()
                for ending in _ENDINGS
                if ending not in own
            ]
            if lacking or not halves:
                names = shown(sorted(lacking)[:_SHOWN]) or "any"
                raise MissingFileError(
                    f"files must be pairs NAME.txt and NAME.ann, {folder} lacks {names} ({len(lacking):,} in all); "
                    "add them (a text without entities has an empty .ann), or set ignore to the other files"
                )
            found += [_Pair(own[".txt"], own[".ann"], split) for _, own in sorted(halves.items(), key=_by_text)]
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


def _by_text(pair: tuple[Path, dict[str, Path]]) -> Path:
    return pair[1][".txt"]


def _annotations(path: Path, counts: Counter[str]) -> list[Annotation]:
    """Return the entities of a file; one whose words stand on several lines has them all."""
    found: list[Annotation] = []
    names: set[str] = set()
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        entity = _ENTITY.fullmatch(line) or _SPACED.fullmatch(line)
        if entity is not None:
            name, label, offsets, words = entity.groups()
            fragments = tuple((int(a), int(b)) for a, b in (pair.split() for pair in offsets.split(";")))
            found.append(Annotation(name, label, fragments, (words or "").strip() or None))
            counts["repeated"] += name in names
            names.add(name)
        elif found and "\t" not in line and _unfinished(found[-1]):
            found[-1] = replace(found[-1], words=f"{found[-1].words}\n{line}")
        elif line[0] in _OTHERS:
            counts["others"] += 1
        else:
            raise DataError(
                f"a line must be T1, a tab, a label and offsets (0 4 or 0 4;6 9), a tab and words, got another in "
                f"{path.name} line {number:,}; repair it"
            )
    return found


def _unfinished(annotation: Annotation) -> bool:
    """Return whether an annotation has fewer words than its offsets span."""
    return annotation.words is not None and len(annotation.words) < sum(
        end - start for start, end in annotation.fragments
    )
