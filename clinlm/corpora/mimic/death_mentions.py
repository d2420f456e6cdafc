r"""Mentions of the patient's death in an admission note: they tell the answer to in-hospital mortality.

Source: as `admission_sections`, by the rules of the public code. `published`: mentions in PHYSICAL EXAM and MEDICATION
ON ADMISSION are cut out, the first after each of these words (with a colon, wherever they stand) on its line; then
notes that still say "patient died", "pt has expired", "he expired", "pronounced expired" or "time of death" are
dropped. "the expired prescription" counts too, "Father died" does not.

strict drops every note with a mention of death in it, of whichever wording, unless its sentence names a relative or
the note has it under FAMILY HISTORY.
"""

import re

from clinlm.corpora.mimic.admission_sections import Definition

_VERB = r"\s+(?:had\s|has\s)?(?:expired|died|passed away|deceased)"
_REMOVED = re.compile(
    rf"((?:PHYSICAL EXAM|MEDICATION ON ADMISSION):[^\n]*?)((?:patient|pt)?{_VERB})", flags=re.IGNORECASE
)
_DROPPED = re.compile(rf"(?:patient|pt){_VERB}|he expired|pronounced expired|time of death", re.IGNORECASE)
_WORDS = re.compile(r"expired|died|passed away|deceased|time of death", re.IGNORECASE)
"""None of the patterns above matches a note without one of these."""

_DEATH = re.compile(
    r"\b(?:expired|died|deceased|passed away|demise|pronounced (?:dead|death|expired|deceased)|autopsy|"
    r"(?:time|date|cause|pronouncement) of death|death certificate|post-?\s?mortem|medical examiner|coroner|"
    r"comfort measures only|cmo)\b",
    re.IGNORECASE,
)
_RELATIVE = re.compile(
    r"\b(?:(?:grand)?(?:mother|father|parents?|son|daughter|child|children)|brothers?|sisters?|siblings?|wife|husband|"
    r"spouse|partner|aunts?|uncles?|cousins?|nephews?|nieces?|friends?|family|relatives?|mom|dad|twin|fetal|fetus)\b",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"[.;!?]\s+|\n")


def without_death(note: str, definition: Definition) -> str | None:
    """Return the note without mentions of the patient's death, or None if it has one that is not cut out."""
    if definition == "strict":
        return None if _told(note) else note
    if not _WORDS.search(note):
        return note
    cut = _REMOVED.sub(r"\1", note)
    return None if _DROPPED.search(cut) else cut


def _told(note: str) -> bool:
    if not _DEATH.search(note):
        return False
    if _DROPPED.search(note):
        return True
    kept = "\n\n".join(part for part in note.split("\n\n") if not part.startswith("FAMILY HISTORY:"))
    return any(_DEATH.search(sentence) and not _RELATIVE.search(sentence) for sentence in _SENTENCE.split(kept))
