"""The words of the synthetic corpus: conditions, cues and fillers, read from `lexicon.json`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

Family = Literal["asserted", "negated", "family", "resolved", "hedged", "copied"]
"""Assertion status of a mentioned condition. Only `asserted` conditions are labels."""

LEXICON_FILE = Path(__file__).with_suffix(".json")


@dataclass(frozen=True)
class Condition:
    """A diagnosis.

    Attributes:
        code: ICD-9 code as in MIMIC-III, without the point ("4280").
        cluster: conditions of a cluster are mentioned together more often than by chance.
        weight: relative frequency, > 0, long-tailed over the lexicon.
        severity: 0 (harmless) to 3; raises mortality in hospital.
        surfaces: spellings, at least two; no two conditions share a spelling.
    """

    code: str
    cluster: str
    weight: float
    severity: int
    surfaces: tuple[str, ...]


@dataclass(frozen=True)
class SyntheticLexicon:
    """The vocabulary of the notes; immutable.

    Attributes:
        conditions: most frequent first.
        frames: family -> sentences with the slots `{gap}` and `{list}`.
        gaps: style -> neutral words between a cue and its conditions, shared by all families.
        words: name -> further words (complaints, drugs, narrative, ...).
    """

    conditions: tuple[Condition, ...]
    frames: Mapping[str, tuple[str, ...]]
    gaps: Mapping[str, tuple[str, ...]]
    words: Mapping[str, tuple[str, ...]]

    @staticmethod
    @cache
    def load() -> "SyntheticLexicon":
        """Read `LEXICON_FILE`, once per process."""
        raw: dict[str, Any] = json.loads(LEXICON_FILE.read_text(encoding="utf-8"))
        return SyntheticLexicon(
            conditions=tuple(Condition(**{**row, "surfaces": tuple(row["surfaces"])}) for row in raw["conditions"]),
            frames={family: tuple(frames) for family, frames in raw["frames"].items()},
            gaps={style: tuple(gaps) for style, gaps in raw["gaps"].items()},
            words={name: tuple(words) for name, words in raw["words"].items()},
        )
