"""A lexicon listed in the settings."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import final

from clinlm.config.errors import ConfigError
from clinlm.terminology.lexicon import Lexicon, normalize_term


@final
class Listed(Lexicon):
    """The symptoms that the settings list, each with its synonyms and inflections.

    Args:
        symptoms: name -> spellings. The name itself counts only if it is among them.

    Raises:
        ConfigError: no symptom, a symptom without a spelling, or one spelling for two symptoms.
    """

    def __init__(self, symptoms: Mapping[str, Sequence[str]]) -> None:
        owner: dict[str, str] = {}
        for name, spellings in symptoms.items():
            if isinstance(spellings, str) or not spellings or not all(map(normalize_term, spellings)):
                raise ConfigError(
                    f"a symptom must have a list of spellings, got {spellings!r} for {name}; set [{name}]"
                )
            for spelling in map(normalize_term, spellings):
                if owner.setdefault(spelling, name) != name:
                    raise ConfigError(
                        f"a spelling must belong to one symptom, got {spelling!r} in {owner[spelling]} and {name}; "
                        "remove one"
                    )
        if not owner:
            raise ConfigError("a lexicon must have a symptom, got none; list some under lexicon.symptoms")
        self.symptoms = {
            str(name): tuple(dict.fromkeys(map(normalize_term, spellings))) for name, spellings in symptoms.items()
        }

    def terms(self) -> Mapping[str, tuple[str, ...]]:
        return self.symptoms

    def fingerprint(self) -> str:
        return hashlib.sha256(json.dumps(self.symptoms, sort_keys=True).encode()).hexdigest()
