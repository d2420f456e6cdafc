"""A labeler that knows the terms of vocabularies, and nothing else."""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import final

from clinlm.labelers.base import Labeler, Labelling, Note
from clinlm.terminology.base import Vocabulary
from clinlm.terminology.matcher import Matcher
from clinlm.terminology.stop_terms import STOP_TERMS


@final
class Ontology(Labeler):
    """Spans are the terms of some vocabularies, wherever they stand: `clinlm.terminology.matcher` says how they are
    found.

    It reads no context, so denied and other people's symptoms are spans too, as they are of the people who annotate
    corpora of entities. Files are read when the first note comes; that time counts for that note.

    Args:
        root: the folder that files of the sources are relative to.
        sources: vocabularies by name. Where two share a term, the source that comes first counts.
        stop: terms that do not count, besides those of `clinlm.terminology.stop_terms`; in capitals for an acronym.
        keep: terms of `clinlm.terminology.stop_terms` that count all the same.
        acronym: a term of so many letters at most, all of them capitals, matches in the same case only.
        shortest: letters and digits of a term that is no acronym.

    Raises:
        ValueError: no source, or `keep` has what is not on the list.
    """

    def __init__(
        self,
        root: str | Path,
        sources: Mapping[str, Vocabulary],
        stop: Sequence[str] = (),
        keep: Sequence[str] = (),
        acronym: int = 5,
        shortest: int = 3,
    ) -> None:
        if not sources:
            raise ValueError("an ontology labeler has a source; none came; set labeler.sources")
        self.root, self.sources = Path(root), dict(sources)
        unknown = sorted(set(keep) - set(STOP_TERMS))
        if unknown:
            raise ValueError(
                f"keep takes terms off the list of clinlm.terminology.stop_terms; {', '.join(unknown)} is not on it; "
                "write it so"
            )
        self.stop = sorted({*STOP_TERMS, *stop} - set(keep))
        self.acronym, self.shortest = acronym, shortest

    @cached_property
    def matcher(self) -> Matcher:
        """What finds the terms; the files are read when it is first asked for."""
        terms = (term for source in self.sources.values() for term in source.terms(self.root))
        return Matcher(terms, self.stop, self.acronym, self.shortest)

    def label(self, notes: Sequence[Note]) -> Iterator[Labelling]:
        """See `Labeler.label`."""
        for note in notes:
            began = time.perf_counter()
            spans = tuple(self.matcher.spans(note.text))
            yield Labelling(spans, seconds=time.perf_counter() - began)

    def fingerprint(self) -> str:
        """See `Labeler.fingerprint`."""
        settings = [type(self).__name__, self.stop, self.acronym, self.shortest]
        read = [source.fingerprint(self.root) for source in self.sources.values()]
        return hashlib.sha256(json.dumps([settings, read]).encode()).hexdigest()
