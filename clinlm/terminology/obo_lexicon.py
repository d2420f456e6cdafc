"""A lexicon from an ontology in OBO format, such as the Symptom Ontology."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, final

from clinlm.config.extras import imported
from clinlm.terminology.lexicon import Lexicon, folded

SCOPES = ("EXACT", "BROAD", "NARROW", "RELATED")

_SYNONYM = re.compile(r'^"((?:[^"\\]|\\.)*)" ([A-Z]+)\b')


@final
class Obo(Lexicon):
    """The terms of an OBO file with their synonyms. A term's name is the symptom's.

    Read with obonet, which leaves out obsolete terms. Terms without a parent are left out too: the root is no symptom
    but the word for all of them. Each way to write a term also counts with an s at its end (fevers), as ontologies list
    no plurals. Where two terms share a way to write, it is the one's whose name it is, else the one's whose name sorts
    first.

    Args:
        path: the .obo file, plain or .gz.
        scopes: which synonyms count; some of EXACT, BROAD, NARROW, RELATED. None of them leaves the names.

    Raises:
        ValueError: an unknown scope.
    """

    def __init__(self, path: str | Path, scopes: Sequence[str] = ("EXACT",)) -> None:
        unknown = sorted(set(scopes) - set(SCOPES)) if not isinstance(scopes, str) else [scopes]
        if unknown:
            raise ValueError(f"scopes is a list of {', '.join(SCOPES)}; {', '.join(unknown)} came; set [EXACT]")
        self.path, self.scopes = Path(path), frozenset(scopes)

    def terms(self) -> Mapping[str, tuple[str, ...]]:
        """See `Lexicon.terms`."""
        self._require()
        try:
            graph = imported("obonet", "symptoms").read_obo(self.path)
        except (ValueError, KeyError) as error:
            raise ValueError(f"{self.path} cannot be read as OBO ({type(error).__name__}); fetch it again") from None
        nodes = [node for _, node in sorted(graph.nodes(data=True)) if node.get("name") and node.get("is_a")]
        if not nodes:
            raise ValueError(f"an ontology has terms with a parent (is_a); {self.path.name} has none; set another path")
        names = sorted({str(node["name"]) for node in nodes})
        synonyms = sorted((str(node["name"]), way) for node in nodes for way in self._synonyms(node))
        owner: dict[str, str] = {}
        for name, way in [*((name, folded(name)) for name in names), *synonyms]:
            owner.setdefault(way, name)
        for way, name in list(owner.items()):
            if not way.endswith("s"):
                owner.setdefault(f"{way}s", name)
        found: dict[str, list[str]] = {name: [] for name in sorted(owner.values())}
        for way, name in owner.items():
            found[name].append(way)
        return {name: tuple(ways) for name, ways in found.items()}

    def fingerprint(self) -> str:
        """See `Lexicon.fingerprint`."""
        self._require()
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _require(self) -> None:
        if not self.path.is_file():
            raise FileNotFoundError(
                f"a lexicon reads an .obo file; there is none at {self.path}; set task.corpus.lexicon.path"
            )

    def _synonyms(self, node: Mapping[str, Any]) -> Iterator[str]:
        for written in node.get("synonym", ()):
            match = _SYNONYM.match(written)
            if match and match[2] in self.scopes and folded(match[1]):
                yield folded(re.sub(r"\\(.)", r"\1", match[1]))
