"""Terms of vocabularies, wherever they occur."""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import final

from clinlm.config.errors import ConfigError
from clinlm.labelers.base import LabeledNote, Labeler, Note
from clinlm.terminology.base import TermSource
from clinlm.terminology.matcher import Matcher
from clinlm.terminology.stop_terms import STOP_TERMS


@final
class Ontology(Labeler):
    """Marks the terms of vocabularies as `clinlm.terminology.matcher` finds them.

    It ignores context, so denied symptoms and those of relatives are spans too, as in corpora of entities that people
    annotate. Files are read for the first note; that time counts for that note.

    Args:
        root: folder that the files of the sources are relative to.
        sources: vocabularies by name; None leaves one out. A term of two sources belongs to the first.
        stop: terms to ignore, in addition to `clinlm.terminology.stop_terms`; in capitals for an acronym.
        keep: terms of `clinlm.terminology.stop_terms` to match anyway.
        acronym: maximum length of a term in capitals that matches in the same case only.
        shortest: minimum number of letters and digits of a term that is not an acronym.

    Raises:
        ConfigError: there is no source, or `keep` has a term that is not on the list.
    """

    def __init__(
        self,
        root: str | Path,
        sources: Mapping[str, TermSource | None],
        stop: Sequence[str] = (),
        keep: Sequence[str] = (),
        acronym: int = 5,
        shortest: int = 3,
    ) -> None:
        self.root = Path(root)
        self.sources = {name: source for name, source in sources.items() if source is not None}
        if not self.sources:
            raise ConfigError("an ontology labeler needs at least one source, got none; set labeler.sources")
        unknown = sorted(set(keep) - set(STOP_TERMS))
        if unknown:
            raise ConfigError(
                f"keep must list terms of clinlm.terminology.stop_terms, got {', '.join(unknown)}; write them as there"
            )
        self.stop = sorted({*STOP_TERMS, *stop} - set(keep))
        self.acronym, self.shortest = acronym, shortest

    @cached_property
    def matcher(self) -> Matcher:
        """Return the matcher of all terms; reads the files on first use."""
        terms = (term for source in self.sources.values() for term in source.terms(self.root))
        return Matcher(terms, self.stop, self.acronym, self.shortest)

    @property
    def notices(self) -> Sequence[str]:
        """Return what the sources leave out."""
        return [notice for source in self.sources.values() for notice in source.notices(self.root)]

    def label(self, notes: Sequence[Note]) -> Iterator[LabeledNote]:
        for note in notes:
            began = time.perf_counter()
            spans = tuple(self.matcher.spans(note.text))
            yield LabeledNote(spans, seconds=time.perf_counter() - began)

    def fingerprint(self) -> str:
        settings = [type(self).__name__, self.stop, self.acronym, self.shortest]
        read = [source.fingerprint(self.root) for source in self.sources.values()]
        return hashlib.sha256(json.dumps([settings, read]).encode()).hexdigest()
