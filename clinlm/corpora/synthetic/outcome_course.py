"""How an invented stay goes: what shows on admission, and what follows from it."""

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
"""Share of the true conditions that admission sections tell; the others arise in hospital."""
_SIGNS = ((0, 1, 2, 3, 4), (12, 30, 32, 18, 8))
_FITTING = 6
"""How much likelier a sign is beside one of its conditions."""
_LOG_DAYS, _STRETCH, _SPREAD = 1.48, 1.4, 0.42
_DEATH = -4.9
_LEVELS = (0.3, 1.2, 2.2)


@dataclass(frozen=True)
class Presentation:
    """A patient at the door.

    Attributes:
        person: how the note introduces the patient, such as "72 yo M".
        age: in years; 90 for whoever is older than 89.
        complaint: the symptom that led to admission.
        admitted: shifted, as all dates of MIMIC-III.
        early: the diagnoses of the stay that are known at admission.
        late: those that arise in hospital.
        signs: what is seen on admission.
        denied: signs and conditions that the note mentions and the patient has not.
        habits, drugs: lines of the social history and of the drugs.
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
        """Log-odds of death from signs and conditions."""
        severity = sum(condition.severity for condition in (*self.early, *self.late))
        return sum(sign.acuity for sign in self.signs) + 0.2 * severity

    @property
    def level(self) -> int:
        """How ill the patient looks, from 0 (well) to 3 (dying)."""
        return sum(self.acuity > limit for limit in _LEVELS)


@dataclass(frozen=True)
class StayOutcome:
    """What became of it.

    Attributes:
        days: from admission to discharge or death, > 0.
        died: in hospital.
        diagnoses: ICD-9 codes, V and E codes last.
        procedures: ICD-9 procedure codes, distinct.
    """

    days: float
    died: bool
    diagnoses: tuple[str, ...]
    procedures: tuple[str, ...]


@final
class SyntheticCourses:
    """Draws what shows on admission, and from that what the stay brings.

    Everything that outcomes depend on, but for chance and the conditions that arise in hospital, is told by the
    admission sections: length of stay (log-normal around the sum of the signs' days), death in hospital (logistic in
    age and in the acuity of signs and conditions) and procedures (each sign and each condition leads to some).
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
        """Draw the admission of a patient who has, or is going to get, these conditions."""
        early = tuple(each for each in conditions if rng.random() < _EARLY)
        codes = {each.code for each in conditions}
        likely = [sign.weight * (_FITTING if codes & set(sign.conditions) else 1) for sign in self.outcomes.signs]
        signs = _distinct(rng, self.outcomes.signs, likely, rng.choices(*_SIGNS)[0])
        others = [sign for sign in self.outcomes.signs if sign not in signs]
        absent = [each for each in self.lexicon.conditions if each.code not in codes]
        denied: list[Condition | Sign] = [
            *_distinct(rng, others, [sign.weight for sign in others], rng.choice((0, 1, 1, 2))),
            *_distinct(rng, absent, [each.weight for each in absent], rng.choice((2, 3))),
        ]
        return Presentation(
            person=person,
            age=age,
            complaint=complaint,
            admitted=admitted,
            early=early,
            late=tuple(each for each in conditions if each not in early),
            signs=tuple(signs),
            denied=tuple(denied),
            habits=(rng.choice(self.outcomes.habits),),
            drugs=tuple(rng.sample(self.outcomes.drugs, rng.choice((1, 2, 3)))),
        )

    def follow(self, rng: random.Random, shown: Presentation) -> StayOutcome:
        """Draw what became of an admission."""
        severity = sum(condition.severity for condition in shown.early)
        stretched = _STRETCH * sum(sign.days for sign in shown.signs) + 0.09 * severity
        days = math.exp(_LOG_DAYS + stretched + rng.gauss(0, _SPREAD))
        odds = _DEATH + 1.3 * shown.acuity + 0.03 * (shown.age - 65)
        died = rng.random() < 1 / (1 + math.exp(-odds))
        return StayOutcome(
            days=min(max(days * (rng.uniform(0.3, 1) if died else 1), 0.2), 150),
            died=died,
            diagnoses=(*(each.code for each in (*shown.early, *shown.late)), *self._further(rng, shown)),
            procedures=self._procedures(rng, shown),
        )

    def _further(self, rng: random.Random, shown: Presentation) -> list[str]:
        """V codes of habits and drugs, and the E code of a fall."""
        codes = [each.code for each in (*shown.habits, *shown.drugs) if rng.random() < each.chance]
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
