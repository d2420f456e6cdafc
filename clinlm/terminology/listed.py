"""A lexicon written out in the settings."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import final

from clinlm.terminology.lexicon import Lexicon, folded


@final
class Listed(Lexicon):
    """The symptoms that the settings list, each with its synonyms and inflections.

    Args:
        symptoms: name -> ways to write it. The name itself counts only if it is among them.

    Raises:
        ValueError: no symptom, a symptom without a way to write it, or one way to write two symptoms.
    """

    def __init__(self, symptoms: Mapping[str, Sequence[str]]) -> None:
        owner: dict[str, str] = {}
        for name, ways in symptoms.items():
            if isinstance(ways, str) or not ways or not all(folded(way) for way in ways):
                raise ValueError(f"a symptom has a list of ways to write it; {name} has none; set [{name}]")
            for way in map(folded, ways):
                if owner.setdefault(way, name) != name:
                    raise ValueError(
                        f"a word stands for one symptom; {way!r} is in {owner[way]} and {name}; remove one"
                    )
        if not owner:
            raise ValueError("a lexicon has a symptom; none came; list some under lexicon.symptoms")
        self.symptoms = {str(name): tuple(dict.fromkeys(map(folded, ways))) for name, ways in symptoms.items()}

    def terms(self) -> Mapping[str, tuple[str, ...]]:
        """See `Lexicon.terms`."""
        return self.symptoms

    def fingerprint(self) -> str:
        """See `Lexicon.fingerprint`."""
        return hashlib.sha256(json.dumps(self.symptoms, sort_keys=True).encode()).hexdigest()
