"""What an admission may show, and what it leads to, read from `synthetic_outcome_lexicon.json`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

LEXICON_FILE = Path(__file__).with_suffix(".json")


@dataclass(frozen=True)
class Sign:
    """Something seen on admission that tells what the stay will bring.

    Attributes:
        name: of the sign.
        surfaces: the ways to write it, at least two.
        weight: relative frequency, > 0.
        acuity: added to the log-odds of death.
        days: added to the logarithm of the length of stay.
        procedures: ICD-9 procedure code -> chance that the sign leads to it.
        conditions: ICD-9 codes of the diagnoses that go with it.
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
    """A line of a social history or of a list of drugs, and the V code that it is coded as with a `chance`."""

    text: str
    code: str
    chance: float


@dataclass(frozen=True)
class SyntheticOutcomeLexicon:
    """Everything the outcomes are made of; immutable.

    Attributes:
        signs: in no order.
        procedures_of_conditions: diagnosis -> procedure -> chance.
        procedures_of_anyone: procedure -> chance in every stay.
        procedure_names: what a procedure is called in the text.
        habits, drugs: lines with the code that they may bring.
        falls: E codes of whoever fell.
        looks: how the patient looks on admission, from well to dying.
        words: neutral sentences by name.
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
        """Read the lexicon beside this file, once per process."""
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
