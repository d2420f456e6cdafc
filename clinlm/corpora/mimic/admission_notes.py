r"""Admission notes: the sections of a discharge summary that are known at admission, without mentions of death.

Source: the clinical outcome tasks of van Aken et al., 2021, EACL (https://aclanthology.org/2021.eacl-main.75), by the
rules of their public code, which OptimCLM uses. `published` follows them exactly, `strict` closes leaks.

published: a section is the text after the first occurrence of its header, anywhere in a line and in any case, up to the
first blank line (without spaces) before a line with a colon that no round bracket, backslash, bar, full stop or digit
precedes. It has at least one character, so an empty section includes the next one, and a section that no such line
follows is missing. Sections may overlap. A backslash and an n in a note count as a line end.

strict: a header is at the start of a line, alone or after other words ("Past medical history:") that do not refer to
the discharge. A section ends at the next such header, at a line that names a part of the stay or the discharge ("Brief
Hospital Course:", "Discharge Physical Exam:"), and at any line after a blank line (possibly with spaces) with a colon
in its first 80 characters. It may be empty, and the last section extends to the end. Of several sections with the same
name the first counts.
"""

import re
from collections.abc import Callable, Mapping
from typing import Literal

Definition = Literal["published", "strict"]

HEADERS = {
    "CHIEF COMPLAINT": "chief complaint",
    "PRESENT ILLNESS": "present illness",
    "MEDICAL HISTORY": "medical history",
    "MEDICATION ON ADMISSION": "medications on admission",
    "ALLERGIES": "allergies",
    "PHYSICAL EXAM": "physical exam",
    "FAMILY HISTORY": "family history",
    "SOCIAL HISTORY": "social history",
}
"""Name of a section in an admission note, in its order -> header in a discharge summary."""

MAIN = ("CHIEF COMPLAINT", "PRESENT ILLNESS", "MEDICAL HISTORY")
"""An admission note has at least one of these."""

_START = {name: re.compile(f"{header}:", re.IGNORECASE) for name, header in HEADERS.items()}
_END = re.compile(r"\\n\\n[^(\\|\d|\.)]+?:", re.IGNORECASE)
_BREAK = "\\n"

_LINE = re.compile(r"[^\S\n]*([^\W\d_][^:\n]{0,79}):(?!\d)")
_KNOWN = {name: re.compile(rf"(?:.*\W)?{header}\s*", re.IGNORECASE) for name, header in HEADERS.items()}
_LATER = re.compile(
    r"\b(?:discharge|course|pertinent results|disposition|condition|follow-?\s?up|addendum|"
    r"procedures?|imaging|microbiology|facility)\b",
    re.IGNORECASE,
)

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


def admission_note(text: str, definition: Definition) -> str | None:
    """Rebuild a discharge summary as an admission note, or None if it has none of the `MAIN` sections."""
    found = summary_sections(text, definition)
    if not any(found[name] for name in MAIN):
        return None
    return "\n\n".join(f"{name}: {content}" for name, content in found.items())


def summary_sections(text: str, definition: Definition) -> dict[str, str]:
    """Return the text of every section of `HEADERS`, each on one line, empty if missing; see the module."""
    return _WAYS[definition](text)


def _published(text: str) -> dict[str, str]:
    flat = text.replace("\n", _BREAK)
    return {name: _between(flat, start) for name, start in _START.items()}


def _between(flat: str, header: re.Pattern[str]) -> str:
    """Return the text between header and end, in linear time.

    One lazy pattern would try every later header if the first has no end; but then these have none either.
    """
    start = header.search(flat)
    end = _END.search(flat, start.end() + 1) if start else None
    return flat[start.end() : end.start()].replace(_BREAK, " ").strip() if start and end else ""


def _strict(text: str) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    inside: list[str] | None = None
    blank = True
    for line in text.splitlines():
        header = _LINE.match(line)
        name = _known(header.group(1)) if header else None
        if header and name:
            inside = [] if name in found else found.setdefault(name, [])
            line = line[header.end() :]
        elif header and (blank or _LATER.search(header.group(1))):
            inside = None
        blank = not line.strip() and not (header and name)
        if inside is not None:
            inside.append(line)
    return {name: " ".join(found.get(name, ())).strip() for name in HEADERS}


def _known(words: str) -> str | None:
    if _LATER.search(words):
        return None
    return next((name for name, pattern in _KNOWN.items() if pattern.fullmatch(words)), None)


def without_death(note: str, definition: Definition) -> str | None:
    """Return the note without mentions of the patient's death, or None if it has one that cannot be removed."""
    if definition == "strict":
        return None if _mentions_death(note) else note
    if not _WORDS.search(note):
        return note
    cut = _REMOVED.sub(r"\1", note)
    return None if _DROPPED.search(cut) else cut


def _mentions_death(note: str) -> bool:
    if not _DEATH.search(note):
        return False
    if _DROPPED.search(note):
        return True
    kept = "\n\n".join(part for part in note.split("\n\n") if not part.startswith("FAMILY HISTORY:"))
    return any(_DEATH.search(sentence) and not _RELATIVE.search(sentence) for sentence in _SENTENCE.split(kept))


_WAYS: Mapping[Definition, Callable[[str], dict[str, str]]] = {"published": _published, "strict": _strict}
