"""brat: texts with annotations beside them, as .txt and .ann."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, final, get_args

from clinlm.corpora.base import Corpus, Records, count_notices, digest_files
from clinlm.corpora.span_records import SpanDocument, span_records
from clinlm.corpora.split import split_files
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
    Offsets are checked against the words that the .ann repeats, runs of white space taken as one space; how they are
    counted is found out (`clinlm.corpora.standoff.locate`). An entity that does not hold its words is dropped, and
    counted by name. Nested and overlapping entities stay.

    An entity of several fragments becomes one span, as `discontinuous` says, and is counted: `hull`, from its first
    character to its last; `first`, its first fragment; `longest`, its longest, of equal ones the first; `drop`, none.

    id = the path below the folder without its ending; no attributes. The rest is `clinlm.corpora.span_records`.

    Args:
        root: the folder. Files whose names begin with a point are not read.
        map: label of the file to label wanted, others are dropped; None keeps all as they are.
        discontinuous: what becomes of an entity of several fragments.
        group: what must not straddle a split: the document, or the folder it lies in, such as a patient's.
        files: split (train, validation, test) to the name of its folder in `root`; None draws splits later.
        ignore: names of files that are none of the corpus, such as README.txt; * stands for any characters.

    Raises:
        ValueError: a setting is not among its choices.
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
            raise ValueError(f"ignore is a list of names; {ignore!r} came; set [{ignore}]")
        for name, value, choices in (
            ("discontinuous", discontinuous, get_args(Discontinuous)),
            ("group", group, get_args(Group)),
        ):
            if value not in choices:
                raise ValueError(f"{name} is one of {', '.join(choices)}; {value!r} came; set one of them")
        self.root: Path = Path(root)
        self.map = map
        self.discontinuous: Discontinuous = discontinuous
        self.group: Group = group
        self.files = files
        self.ignore = (".*", *ignore)

    def records(self) -> Records:
        """See `Corpus.records`.

        Raises:
            FileNotFoundError: the folder is missing, or a file lacks its other half.
            ValueError: also when a line of an .ann is not one that brat writes.
        """
        counts: Counter[str] = Counter()
        documents, checked = [], []
        for path, split in self._pairs():
            name = path.relative_to(self.root).with_suffix("").as_posix()
            annotations = _annotations(path.with_suffix(".ann"), counts)
            placed = locate(read_text(path), annotations)
            checked.append((name, annotations, placed))
            both = [(one, found) for one, found in zip(annotations, placed.fragments, strict=True) if found]
            parted = [one.label for one, found in both if len(found) > 1]
            counts["discontinuous"] += sum(self.map is None or label in self.map for label in parted)
            spans = [Span(*part, one.label) for one, found in both for part in self._whole(found)]
            group = name if self.group == "document" else path.relative_to(self.root).parent.as_posix()
            documents.append(SpanDocument(name, group, placed.text, spans, split))
        told = [
            (counts["others"], "lines not read: events, relations, attributes and notes are no entities"),
            (counts["discontinuous"], f"entities are discontinuous, read by: {self.discontinuous}"),
        ]
        found = count_notices(told)
        return span_records(documents, self.map, [*found, *standoff_notices(checked)])

    def fingerprint(self) -> str:
        """See `Corpus.fingerprint`; the places of the files count too, since they name documents and groups."""
        pairs = [path for path, _ in self._pairs()]
        places = json.dumps([path.relative_to(self.root).as_posix() for path in pairs])
        halves = digest_files([path.with_suffix(ending) for path in pairs for ending in (".txt", ".ann")])
        return hashlib.sha256((places + halves).encode()).hexdigest()

    def _pairs(self) -> list[tuple[Path, str | None]]:
        """The texts that have annotations, and their splits."""
        found = []
        for folder, split in split_files(self.root, self.files):
            if not folder.is_dir():
                raise FileNotFoundError(
                    f"brat's files lie in a folder; {folder} is none; set root to one with .txt, .ann"
                )
            there = {path for path in folder.rglob("*") if path.suffix in _ENDINGS and not self._ignored(path)}
            lacking = sorted(
                half for path in there for ending in _ENDINGS if (half := path.with_suffix(ending)) not in there
            )
            if lacking or not there:
                names = shown([path.relative_to(folder).as_posix() for path in lacking[:_SHOWN]]) or "any"
                raise FileNotFoundError(
                    f"brat's files are pairs NAME.txt and NAME.ann; {folder} lacks {names} ({len(lacking):,} in all); "
                    "add what is missing (a text without entities has an empty .ann), or set ignore to the other half"
                )
            found += [(path, split) for path in sorted(there) if path.suffix == ".txt"]
        return found

    def _ignored(self, path: Path) -> bool:
        return any(fnmatchcase(path.name, pattern) for pattern in self.ignore)

    def _whole(self, fragments: Sequence[Fragment]) -> list[Fragment]:
        """What becomes of an entity."""
        if len(fragments) == 1 or self.discontinuous == "first":
            return [fragments[0]]
        if self.discontinuous == "hull":
            return [(fragments[0][0], fragments[-1][1])]
        if self.discontinuous == "longest":
            return [max(fragments, key=lambda one: one[1] - one[0])]
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
            raise ValueError(
                f"an entity of brat is T1, a tab, its label and offsets (0 4 or 0 4;6 9), a tab and its words; "
                f"{path.name} line {number:,} is not; repair it"
            )
        name, label, offsets, words = entity.groups()
        fragments = tuple((int(a), int(b)) for a, b in (one.split() for one in offsets.split(";")))
        found.append(Annotation(name, label, fragments, words))
    return found
