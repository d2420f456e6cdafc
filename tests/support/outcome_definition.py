"""The published outcome tasks a second time, slowly: row by row, with the csv module and one regex a section."""

import csv
import re
from datetime import datetime
from pathlib import Path

MISSING = (
    *("", "NA", "N/A", "n/a", "<NA>", "#NA", "#N/A", "#N/A N/A", "NULL", "null", "None", "nan", "NaN", "-nan", "-NaN"),
    *("1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
)

SECTIONS = {
    "CHIEF COMPLAINT": "chief complaint:",
    "PRESENT ILLNESS": "present illness:",
    "MEDICAL HISTORY": "medical history:",
    "MEDICATION ON ADMISSION": "medications on admission:",
    "ALLERGIES": "allergies:",
    "PHYSICAL EXAM": "physical exam:",
    "FAMILY HISTORY": "family history:",
    "SOCIAL HISTORY": "social history:",
}
DIED = r"\s+(?:had\s|has\s)?(?:expired|died|passed away|deceased)"

Cell = str | None
Rows = list[dict[str, Cell]]


def read(path: Path) -> Rows:
    with path.open(newline="", encoding="utf-8") as file:
        return [{k: None if v in MISSING else v for k, v in row.items()} for row in csv.DictReader(file)]


def number(cell: Cell) -> int | None:
    return None if cell is None else int(float(cell))


def expected(root: Path, outcome: str) -> list[tuple[str, str, str, tuple[str, ...]]]:
    """Rows (id, group, text, labels) ordered by id."""
    stays = {number(row["HADM_ID"]): row for row in read(root / "ADMISSIONS.csv")}
    found = []
    for stay, (subject, text) in sorted(joined(root, stays).items()):
        note = rebuilt(text.strip())
        label = labelled(root, outcome, stay, stays[stay])
        if note is not None and label is not None:
            if outcome == "mortality":
                note = silenced(note)
            if note is not None:
                found.append((str(stay), str(subject), note, label))
    return found


def joined(root: Path, stays: dict[int | None, dict[str, Cell]]) -> dict[int, tuple[int, str]]:
    notes = []
    for row in read(root / "NOTEEVENTS.csv"):
        stay = number(row["HADM_ID"])
        if stay is None or stay not in stays or stays[stay]["ADMISSION_TYPE"] == "NEWBORN":
            continue
        if row["TEXT"] is not None and row["CATEGORY"] == "Discharge summary":
            notes.append(row)
    notes.sort(key=lambda row: (row["CHARTDATE"] is None, row["CHARTDATE"] or ""))
    last = {row["TEXT"]: place for place, row in enumerate(notes)}
    kept = [row for place, row in enumerate(notes) if last[row["TEXT"]] == place]
    found = {}
    for stay in {number(row["HADM_ID"]) for row in kept}:
        own = [row for row in kept if number(row["HADM_ID"]) == stay]
        reports = [row for row in own if row["DESCRIPTION"] == "Report"]
        if reports and reports[-1]["SUBJECT_ID"] is not None:
            subject = number(reports[-1]["SUBJECT_ID"])
            assert stay is not None and subject is not None
            found[stay] = (subject, "\n\n".join(str(row["TEXT"]) for row in own))
    return found


def rebuilt(text: str) -> str | None:
    flat = text.replace("\n", "\\n")
    parts = {}
    for name, header in SECTIONS.items():
        match = re.search(r"(?i)" + header + r"(.+?)\\n\\n[^(\\|\d|\.)]+?:", flat)
        parts[name] = match.group(1).replace("\\n", " ").strip() if match else ""
    if all(parts[name] == "" for name in list(SECTIONS)[:3]):
        return None
    return "\n\n".join(f"{name}: {part}" for name, part in parts.items())


def silenced(note: str) -> str | None:
    cut = re.sub(
        rf"((?:PHYSICAL EXAM|MEDICATION ON ADMISSION):[^\n]*?)((?:patient|pt)?{DIED})", r"\1", note, flags=re.I
    )
    for told in (rf"(?:patient|pt){DIED}", "he expired", "pronounced expired", "time of death"):
        if re.search(told, cut, re.I):
            return None
    return cut


def labelled(root: Path, outcome: str, stay: int, row: dict[str, Cell]) -> tuple[str, ...] | None:
    flag = number(row["HOSPITAL_EXPIRE_FLAG"]) if row["HOSPITAL_EXPIRE_FLAG"] is not None else None
    if outcome == "mortality":
        return None if flag is None else ("died" if flag else "survived",)
    if outcome == "length_of_stay":
        if flag != 0:
            return None
        seconds = (when(row["DISCHTIME"]) - when(row["ADMITTIME"])).total_seconds()
        days = round(seconds / 86400 * 10) / 10
        return (next(name for name, most in STAYS.items() if days <= most),)
    found = short(root, outcome)
    own = tuple(dict.fromkeys(code for owner, subject, code in found if owner == stay and subject is not None))
    return own or None


STAYS = {"at most 3 days": 3.0, "over 3 to 7 days": 7.0, "over 7 to 14 days": 14.0, "over 14 days": float("inf")}


def when(cell: Cell) -> datetime:
    assert cell is not None
    return datetime.strptime(cell, "%Y-%m-%d %H:%M:%S")


def short(root: Path, outcome: str) -> list[tuple[int | None, int | None, str]]:
    """Distinct (HADM_ID, code), the first of each with its SUBJECT_ID."""
    table = "DIAGNOSES_ICD" if outcome == "diagnoses_3digit" else "PROCEDURES_ICD"
    rows = read(root / f"{table}.csv")
    cells = [row["ICD9_CODE"] and row["ICD9_CODE"].upper() for row in rows]  # as in PhysioNet's tables
    if all(cell is None or cell.isdigit() for cell in cells):
        cells = [None if c is None else f"{int(c)}.0" if None in cells else str(int(c)) for c in cells]
    found: dict[tuple[int | None, str], int | None] = {}
    for row, code in zip(rows, cells, strict=True):
        if code is not None:
            cut = code[:4] if code[0] in "VE" and table == "DIAGNOSES_ICD" else code[:3]
            found.setdefault((number(row["HADM_ID"]), cut), number(row["SUBJECT_ID"]))
    return [(stay, subject, code) for (stay, code), subject in found.items()]
