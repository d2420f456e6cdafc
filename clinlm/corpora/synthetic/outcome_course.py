"""Generates the course of a stay: the presentation at admission, and the outcomes that follow from it."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TypeVar, final

from clinlm.corpora.synthetic.lexicon import Condition, SyntheticLexicon
from clinlm.corpora.synthetic.outcome_lexicon import Habit, Sign, SyntheticOutcomeLexicon

_Option = TypeVar("_Option")

_EARLY = 0.75
"""Share of the true conditions that are known at admission; the others arise in hospital."""
_SIGNS = ((0, 1, 2, 3, 4), (12, 30, 32, 18, 8))
_FITTING = 6
"""Factor by which one of its conditions makes a sign more likely."""
_LOG_DAYS, _STRETCH, _SPREAD = 1.48, 1.4, 0.42
_DEATH = -4.9
_LEVELS = (0.3, 1.2, 2.2)


@dataclass(frozen=True)
class Presentation:
    """The state of a patient at admission.

    Attributes:
        person: introduction of the patient in the note, such as "72 yo M".
        age: in years, at most 90.
        complaint: the symptom that led to admission.
        admitted: shifted date, as in MIMIC-III.
        early: diagnoses known at admission.
        late: diagnoses that arise in hospital.
        signs: findings at admission.
        denied: signs and conditions that the note mentions but the patient does not have.
        habits, drugs: lines of the social history and the drug list.
    """

    person: str
    age: int
    complaint: str
    admitted: date
    early: tuple[Condition, ...]
    late: tuple[Condition, ...]
    signs: tuple[Sign, ...]
    denied: tuple[Condition | Sign, ...]
    habits: tuple[Habit, ...]
    drugs: tuple[Habit, ...]

    @property
    def acuity(self) -> float:
        """Contribution of signs and conditions to the log-odds of death."""
        severity = sum(condition.severity for condition in (*self.early, *self.late))
        return sum(sign.acuity for sign in self.signs) + 0.2 * severity

    @property
    def level(self) -> int:
        """Severity of the appearance, from 0 (well) to 3 (dying)."""
        return sum(self.acuity > limit for limit in _LEVELS)


@dataclass(frozen=True)
class StayOutcome:
    """The outcomes of a stay.

    Attributes:
        days: from admission to discharge or death, > 0.
        died: whether the patient died in hospital.
        diagnoses: ICD-9 codes, V and E codes last.
        procedures: ICD-9 procedure codes, distinct.
    """

    days: float
    died: bool
    diagnoses: tuple[str, ...]
    procedures: tuple[str, ...]


@final
class SyntheticCourses:
    """Draws the presentation at admission, and outcomes that depend on it.

    Length of stay is log-normal around the sum of the signs' days, death in hospital is logistic in age and in the
    acuity of signs and conditions, and each sign and condition leads to procedures. The admission sections of the note
    state everything that outcomes depend on, except chance and the conditions that arise in hospital.
    """

    def __init__(self) -> None:
        self.lexicon = SyntheticLexicon.load()
        self.outcomes = SyntheticOutcomeLexicon.load()

    def present(
        self,
        rng: random.Random,
        person: str,
        age: int,
        complaint: str,
        admitted: date,
        conditions: Sequence[Condition],
    ) -> Presentation:
        """Draw the presentation of a patient with these conditions, some of which arise in hospital."""
        early = tuple(condition for condition in conditions if rng.random() < _EARLY)
        codes = {condition.code for condition in conditions}
        likely = [sign.weight * (_FITTING if codes & set(sign.conditions) else 1) for sign in self.outcomes.signs]
        signs = _distinct(rng, self.outcomes.signs, likely, rng.choices(*_SIGNS)[0])
        others = [sign for sign in self.outcomes.signs if sign not in signs]
        absent = [condition for condition in self.lexicon.conditions if condition.code not in codes]
        denied: list[Condition | Sign] = [
            *_distinct(rng, others, [sign.weight for sign in others], rng.choice((0, 1, 1, 2))),
            *_distinct(rng, absent, [condition.weight for condition in absent], rng.choice((2, 3))),
        ]
        return Presentation(
            person=person,
            age=age,
            complaint=complaint,
            admitted=admitted,
            early=early,
            late=tuple(condition for condition in conditions if condition not in early),
            signs=tuple(signs),
            denied=tuple(denied),
            habits=(rng.choice(self.outcomes.habits),),
            drugs=tuple(rng.sample(self.outcomes.drugs, rng.choice((1, 2, 3)))),
        )

    def follow(self, rng: random.Random, shown: Presentation) -> StayOutcome:
        """Draw the outcomes of a stay."""
        severity = sum(condition.severity for condition in shown.early)
        stretched = _STRETCH * sum(sign.days for sign in shown.signs) + 0.09 * severity
        days = math.exp(_LOG_DAYS + stretched + rng.gauss(0, _SPREAD))
        odds = _DEATH + 1.3 * shown.acuity + 0.03 * (shown.age - 65)
        died = rng.random() < 1 / (1 + math.exp(-odds))
        return StayOutcome(
            days=min(max(days * (rng.uniform(0.3, 1) if died else 1), 0.2), 150),
            died=died,
            diagnoses=(*(condition.code for condition in (*shown.early, *shown.late)), *self._extra_codes(rng, shown)),
            procedures=self._procedures(rng, shown),
        )

    def _extra_codes(self, rng: random.Random, shown: Presentation) -> list[str]:
        """Draw V codes of habits and drugs, and the E code of a fall."""
        codes = [habit.code for habit in (*shown.habits, *shown.drugs) if rng.random() < habit.chance]
        if "hip" in [sign.name for sign in shown.signs] or (shown.complaint == "fall" and rng.random() < 0.5):
            codes.append(rng.choice(self.outcomes.falls))
        return list(dict.fromkeys(codes))

    def _procedures(self, rng: random.Random, shown: Presentation) -> tuple[str, ...]:
        sources: list[Mapping[str, float]] = [sign.procedures for sign in shown.signs]
        for condition in (*shown.early, *shown.late):
            sources.append(self.outcomes.procedures_of_conditions.get(condition.code, {}))
        drawn = [
            code
            for source in (*sources, self.outcomes.procedures_of_anyone)
            for code, chance in source.items()
            if rng.random() < chance
        ]
        return tuple(dict.fromkeys(drawn))


def _distinct(rng: random.Random, options: Sequence[_Option], weights: Sequence[float], count: int) -> list[_Option]:
    """Draw `count` of `options` by weight without replacement."""
    arrivals = sorted((rng.expovariate(weight), place) for place, weight in enumerate(weights))
    return [options[place] for _, place in arrivals[:count]]
