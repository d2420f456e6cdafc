"""Signs at admission and the outcomes that follow from them, read from `outcome_lexicon.json`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

LEXICON_FILE = Path(__file__).with_suffix(".json")


@dataclass(frozen=True)
class Sign:
    """A finding at admission that predicts outcomes of the stay.

    Attributes:
        surfaces: spellings, at least two.
        weight: relative frequency, > 0.
        acuity: added to the log-odds of death.
        days: added to the logarithm of the length of stay.
        procedures: ICD-9 procedure code -> probability that the sign leads to it.
        conditions: ICD-9 codes of diagnoses that make the sign more likely.
    """

    name: str
    surfaces: tuple[str, ...]
    weight: float
    acuity: float
    days: float
    procedures: Mapping[str, float]
    conditions: tuple[str, ...]


@dataclass(frozen=True)
class Habit:
    """A line of the social history or the drug list, and the V code that it yields with probability `chance`."""

    text: str
    code: str
    chance: float


@dataclass(frozen=True)
class SyntheticOutcomeLexicon:
    """The vocabulary and the probabilities of the outcomes; immutable.

    Attributes:
        procedures_of_conditions: diagnosis -> procedure -> probability.
        procedures_of_anyone: procedure -> probability in every stay.
        procedure_names: procedure -> its name in the text.
        habits, drugs: lines that may yield a V code.
        falls: E codes of falls.
        looks: general appearance at admission, from well to dying.
        words: name -> neutral sentences.
    """

    signs: tuple[Sign, ...]
    procedures_of_conditions: Mapping[str, Mapping[str, float]]
    procedures_of_anyone: Mapping[str, float]
    procedure_names: Mapping[str, str]
    habits: tuple[Habit, ...]
    drugs: tuple[Habit, ...]
    falls: tuple[str, ...]
    looks: tuple[tuple[str, ...], ...]
    words: Mapping[str, tuple[str, ...]]

    @staticmethod
    @cache
    def load() -> "SyntheticOutcomeLexicon":
        """Read `LEXICON_FILE`, once per process."""
        raw: dict[str, Any] = json.loads(LEXICON_FILE.read_text(encoding="utf-8"))
        lists = {name: tuple(raw[name]) for name in ("kin", "stays", "deaths", "advice")}
        return SyntheticOutcomeLexicon(
            signs=tuple(
                Sign(**{**row, "surfaces": tuple(row["surfaces"]), "conditions": tuple(row["conditions"])})
                for row in raw["signs"]
            ),
            procedures_of_conditions=raw["procedures_of_conditions"],
            procedures_of_anyone=raw["procedures_of_anyone"],
            procedure_names=raw["procedure_names"],
            habits=tuple(Habit(**row) for row in raw["habits"]),
            drugs=tuple(Habit(**row) for row in raw["drugs"]),
            falls=tuple(raw["falls"]),
            looks=tuple(tuple(row) for row in raw["looks"]),
            words=lists,
        )
