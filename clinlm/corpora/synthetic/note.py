"""A synthetic discharge summary, with a trace of what it asserts, and the stay it is about."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date

from clinlm.corpora.synthetic.lexicon import Condition, Family


@dataclass(frozen=True)
class Stay:
    """What a note needs to know of a stay in hospital.

    Attributes:
        person: how the note introduces the patient, such as "72 yo M".
        complaint: the symptom that led to admission.
        clusters: the patient's clusters of conditions, mentioned four times as often as the others.
        admitted: shifted, as all dates of MIMIC-III.
        discharged: not before `admitted`.
    """

    person: str
    complaint: str
    clusters: Collection[str]
    admitted: date
    discharged: date


@dataclass(frozen=True)
class Statement:
    """One sentence about conditions, without its full stop."""

    family: Family
    text: str
    conditions: tuple[Condition, ...]


@dataclass(frozen=True)
class SyntheticNote:
    """A written note.

    Attributes:
        text: the note; every section starts a line with "NAME:".
        labels: the diagnoses of the stay, most important first (SEQ_NUM).
        statements: every sentence that mentions a condition, in no order: the writer's trace.
        expired: whether the patient died in this stay.
    """

    text: str
    labels: tuple[Condition, ...]
    statements: tuple[Statement, ...]
    expired: bool

    @property
    def asserted(self) -> frozenset[str]:
        """The codes that the text asserts as active in this stay, from the trace."""
        return frozenset(c.code for s in self.statements if s.family == "asserted" for c in s.conditions)
