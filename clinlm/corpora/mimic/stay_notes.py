"""Discharge summaries, one an admission, turned into the admission notes of the clinical outcome tasks."""

import polars as pl

from clinlm.corpora.base import count_dropped, count_notice
from clinlm.corpora.mimic.admission_notes import Definition, admission_note, without_death
from clinlm.corpora.split import merge_groups


def as_admission_notes(
    notes: pl.DataFrame, definition: Definition, hide_death: bool, compare: bool = False
) -> tuple[pl.DataFrame, list[str]]:
    """Replace TEXT by the admission note; drop rows without one, or whose note reveals the answer; and notices.

    Args:
        notes: one row per admission, with TEXT and `labels`.
        definition: see `clinlm.corpora.mimic.admission_notes`.
        hide_death: whether mentions of death are removed, or their notes dropped.
        compare: whether to count the notes that differ from the published definition's.
    """
    texts = pl.Series("TEXT", [admission_note(text, definition) for text in notes["TEXT"]], dtype=pl.String)
    built = notes.with_columns(texts).drop_nulls("TEXT")
    main = "neither chief complaint nor present illness nor medical history"
    notices = count_dropped(notes, built, f"admissions dropped: {main}")
    if compare:
        differ = sum(admission_note(text, "published") != new for text, new in zip(notes["TEXT"], texts, strict=True))
        notices += count_notice(differ, notes.height, "admission notes differ from the published definition's")
    if not hide_death:
        return built, notices
    texts = pl.Series("TEXT", [without_death(text, definition) for text in built["TEXT"]], dtype=pl.String)
    died = built.filter(texts.is_null())["labels"].list.first().eq("died").sum()
    kept = built.with_columns(texts).drop_nulls("TEXT")
    notices += count_dropped(
        built, kept, f"admissions dropped: the note mentions death, {died:,} of them of patients who died"
    )
    notices += count_notice(int((built["TEXT"] != texts).sum()), built.height, "notes had a mention of death removed")
    return kept, notices


def group_stays(notes: pl.DataFrame, definition: Definition) -> tuple[pl.DataFrame, list[str]]:
    """Add `group`: SUBJECT_ID as text; strict: of patients with the same admission note, the lowest; and notices."""
    people = notes["SUBJECT_ID"].to_list()
    groups = merge_groups(people, notes["TEXT"]) if definition == "strict" else list(map(str, people))
    notes = notes.with_columns(pl.Series("group", groups, dtype=pl.String))
    joined = notes["SUBJECT_ID"].n_unique() - notes["group"].n_unique()
    return notes, count_notice(
        joined, notes["SUBJECT_ID"].n_unique(), "patients share an admission note, and so a group"
    )
