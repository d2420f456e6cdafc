"""i2b2/VA 2010: texts (.txt) and concepts (.con) by lines and tokens."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple, final

from clinlm.config.errors import ConfigError, DataError, MissingFileError
from clinlm.corpora.base import Corpus, Records, digest_files
from clinlm.corpora.offsets import Fragment
from clinlm.corpora.span_records import SpanDocument, span_records
from clinlm.corpora.split import split_paths
from clinlm.corpora.standoff import Annotated, Annotation, locate, standoff_notices
from clinlm.files.columns import shown
from clinlm.files.plain_text import read_lines, read_text
from clinlm.terminology.spans import Span

_CONCEPT = re.compile(r'c="(.*)" (\d{1,9}):(\d{1,9}) (\d{1,9}):(\d{1,9})\|\|t="([^"]+)"\s*')
_TOKEN = re.compile(r"\S+")
_HALVES = frozenset({"txt", "concept", "concepts"})
"""Folders that part the texts of a site from their concepts."""
_ENDINGS = (".txt", ".con")
_SHOWN = 5


class _TextAndConcepts(NamedTuple):
    name: str
    text: Path
    concepts: Path
    split: str | None


@final
class I2b2Concepts(Corpus):
    """One record per pair of NAME.txt and NAME.con in a folder and the folders in it, in the order of their names.

    Source: Uzuner et al., 2011, JAMIA 18:552 (https://doi.org/10.1136/amiajnl-2011-000203). A line of a .con is
    c="WORDS" LINE:TOKEN LINE:TOKEN||t="LABEL", from the first to the last token; lines count from 1, tokens (runs
    without white space) from 0. The words, in lower case there, are compared with the text: a concept without its words
    in its place is dropped, and a notice names it. Assertions (.ast) and relations (.rel) are not read.

    The text may lie in `txt` and the concepts in `concept` beside it, or anywhere below `root` if the names are unique.
    id = the path below the folder without these two and the ending; group = id, as the files name no patients; no
    attributes. See `clinlm.corpora.span_records` for the rest.

    Args:
        root: the folder. Hidden files are not read.
        map: label of the file (problem, test, treatment) -> label of the records; None keeps all.
        files: split (train, validation, test) -> name of its folder in `root`; None draws splits later.
        ignore: names of .txt and .con files that are not part of the corpus; * matches any characters.
    """

    remote_allowed = False

    def __init__(
        self,
        root: str | Path,
        map: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
        ignore: Sequence[str] = (),
    ) -> None:
        if isinstance(ignore, str):
            raise ConfigError(f"ignore must be a list of names, got {ignore!r}; set [{ignore}]")
        self.root: Path = Path(root)
        self.map, self.files, self.ignore = map, files, (".*", *ignore)

    def records(self) -> Records:
        """See `Corpus.records`.

        Raises:
            MissingFileError: also if a file of a pair is missing.
            DataError: also if a line of a .con is not in the format.
        """
        pairs = self._pairs()
        annotated = []
        for pair in pairs:
            text = read_text(pair.text).removeprefix("\ufeff")
            annotated.append(Annotated(pair.name, text, _concepts(pair.concepts, text)))
        located = locate(annotated)
        documents = []
        for pair, own, placed in zip(pairs, annotated, located, strict=True):
            both = zip(own.annotations, placed.fragments, strict=True)
            # Fragments of one concept are merged where only white space parts them; a concept is one span.
            spans = [Span(found[0][0], found[-1][1], one.label) for one, found in both if found]
            documents.append(SpanDocument(pair.name, pair.name, placed.text, spans, pair.split))
        return span_records(documents, self.map, standoff_notices(annotated, located))

    def fingerprint(self) -> str:
        """See `Corpus.fingerprint`; it includes the paths of the files, which name documents."""
        pairs = self._pairs()
        names = json.dumps([pair.name for pair in pairs])
        return hashlib.sha256(
            (names + digest_files(path for pair in pairs for path in (pair.text, pair.concepts))).encode()
        ).hexdigest()

    def _pairs(self) -> list[_TextAndConcepts]:
        return [pair for folder, split in split_paths(self.root, self.files) for pair in self._paired(folder, split)]

    def _paired(self, folder: Path, split: str | None) -> list[_TextAndConcepts]:
        if not folder.is_dir():
            raise MissingFileError(f"root must be a folder of .txt and .con files, got {folder}; set it to one")
        halves: dict[str, dict[str, Path]] = {ending: {} for ending in _ENDINGS}
        for path in sorted(folder.rglob("*")):
            ending = path.suffix.lower()
            if ending in halves and not any(fnmatchcase(path.name, pattern) for pattern in self.ignore):
                parts = path.relative_to(folder).with_suffix("").parts
                name = "/".join(part for part in parts if part.lower() not in _HALVES)
                if name in halves[ending]:
                    raise DataError(f"a name must be that of one {ending} file, {folder} has {name} twice; remove one")
                halves[ending][name] = path
        texts, concepts = halves.values()
        elsewhere = _by_stem({name: path for name, path in concepts.items() if name not in texts})
        own = _by_stem({name: path for name, path in texts.items() if name not in concepts})
        moved = {texts_name: elsewhere[stem][1] for stem, (texts_name, _) in own.items() if stem in elsewhere}
        found = {**{name: path for name, path in concepts.items() if name in texts}, **moved}
        lacking = [path.name for name, path in texts.items() if name not in found]
        paired = set(found.values())
        lacking += [path.name for path in concepts.values() if path not in paired]
        if lacking or not found:
            alone = f"has {shown(lacking[:_SHOWN])} alone ({len(lacking):,} in all)" if lacking else "lacks any"
            raise MissingFileError(
                f"files must be pairs NAME.txt and NAME.con, {folder} {alone}; add the other, or set ignore to them"
            )
        return [_TextAndConcepts(name, texts[name], path, split) for name, path in sorted(found.items())]


def _by_stem(paths: Mapping[str, Path]) -> dict[str, tuple[str, Path]]:
    """Return the paths whose last name is unique, by it."""
    stems = Counter(path.stem for path in paths.values())
    return {path.stem: (name, path) for name, path in paths.items() if stems[path.stem] == 1}


def _concepts(path: Path, text: str) -> list[Annotation]:
    """Return the concepts of a file as annotations with offsets in the text."""
    starts, places = [0], list[list[Fragment]]()
    for line in text.split("\n"):
        places.append([(starts[-1] + token.start(), starts[-1] + token.end()) for token in _TOKEN.finditer(line)])
        starts.append(starts[-1] + len(line) + 1)
    found = []
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        concept = _CONCEPT.fullmatch(line)
        if concept is None:
            raise DataError(
                'a line must be c="WORDS" LINE:TOKEN LINE:TOKEN||t="LABEL", got another in '
                f"{path.name} line {number:,}; repair it"
            )
        words, *numbers, label = concept.groups()
        first, last = (_token(places, int(row), int(token)) for row, token in (numbers[:2], numbers[2:]))
        outside = first is None or last is None or last[1] <= first[0]
        # Beyond the text, so that it is counted with the others that are not in their place.
        fragment = (len(text) + 1, len(text) + 2) if outside else (first[0], last[1])  # type: ignore[index]
        found.append(Annotation(f"line {number:,}", label, (fragment,), words.strip() or None))
    return found


def _token(places: Sequence[Sequence[Fragment]], line: int, token: int) -> Fragment | None:
    there = 1 <= line <= len(places) and token < len(places[line - 1])
    return places[line - 1][token] if there else None
