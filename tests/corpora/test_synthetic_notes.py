"""Laws of the notes: context decides the labels, and nothing but context."""

import random
import re
from collections import Counter
from datetime import date
from functools import cache
from itertools import combinations

import numpy as np
import pytest

from clinlm.corpora.synthetic.lexicon import SyntheticLexicon
from clinlm.corpora.synthetic.notes import SECTIONS, HospitalStay, Style, SyntheticNote, SyntheticNotes

LEXICON = SyntheticLexicon.load()
CLUSTERS = list(dict.fromkeys(condition.cluster for condition in LEXICON.conditions))
STYLES: tuple[Style, ...] = ("handoff", "brief", "full")
SPLIT = re.compile(r"\. |; (?:however, )?|, but |\.$")


@cache
def chains(style: Style) -> tuple[tuple[SyntheticNote, ...], ...]:
    """Three notes each of some patients, every one written with the one before at hand."""
    writer, made = SyntheticNotes(style), []
    for patient in range(200 if style == "full" else 500):
        rng, notes = random.Random(patient), list[SyntheticNote]()
        for _ in range(3):
            stay = HospitalStay("72 yo M", "cough", rng.sample(CLUSTERS, 2), date(2101, 3, 4), date(2101, 3, 9))
            notes.append(writer.write(rng, stay, notes[-1] if notes else None))
        made.append(tuple(notes))
    return tuple(made)


def notes(style: Style = "brief") -> list[SyntheticNote]:
    return [note for chain in chains(style) for note in chain]


def mentioned(note: SyntheticNote) -> set[str]:
    return {condition.code for statement in note.statements for condition in statement.conditions}


def read(text: str) -> set[str]:
    """The diagnoses as a careful reader finds them: from the text and the lexicon, without the writer's trace."""
    flat = " ".join(text.split())
    for section in SECTIONS:
        flat = flat.replace(f"{section}: ", "")
    found = set()
    for clause in SPLIT.split(flat):
        for frame in LEXICON.frames["asserted"]:
            gaps = "|".join(gap for gaps in LEXICON.gaps.values() for gap in gaps)
            pattern = re.escape(frame).replace(r"\{gap\}", f"(?:{gaps})").replace(r"\{list\}", "(?P<list>.+)")
            if match := re.fullmatch(pattern, clause, re.IGNORECASE):
                for condition in LEXICON.conditions:
                    if any(re.search(rf"\b{re.escape(s)}\b", match["list"]) for s in condition.surfaces):
                        found.add(condition.code)
    return found


@pytest.mark.parametrize("style", STYLES)
def test_labels_are_exactly_what_the_trace_asserts(style: Style) -> None:
    for note in notes(style):
        labels = [condition.code for condition in note.labels]
        assert note.asserted == set(labels) and len(set(labels)) == len(labels)
        fewest, most = (1, 2) if style == "handoff" else (2, 5)
        assert fewest <= len(labels) <= most and note.asserted < mentioned(note)


@pytest.mark.parametrize("style", STYLES)
def test_every_statement_stands_in_the_text(style: Style) -> None:
    for note in notes(style)[:300]:
        flat = " ".join(note.text.split()).lower()
        assert all(statement.text.lower() in flat for statement in note.statements)


@pytest.mark.parametrize("style", ["handoff", "brief"])
def test_a_careful_reader_finds_the_labels_in_the_text_alone(style: Style) -> None:
    sample = notes(style)[:300]
    right = sum(len(read(note.text) & note.asserted) for note in sample)
    wrong = sum(len(read(note.text) - note.asserted) for note in sample)
    assert wrong == 0
    # Misspelled surfaces are all that this reader, unlike a model, cannot find.
    assert right > 0.96 * sum(len(note.asserted) for note in sample)


def test_copied_sentences_are_the_previous_stays_and_not_labels() -> None:
    copies = 0
    for chain in chains("brief"):
        assert not any(statement.family == "copied" for statement in chain[0].statements)
        for before, note in zip(chain, chain[1:], strict=False):
            for statement in note.statements:
                if statement.family == "copied":
                    copies += 1
                    assert statement.text.removeprefix('Per prior note: "')[:-1] in {s.text for s in before.statements}
                    codes = {condition.code for condition in statement.conditions}
                    assert codes <= before.asserted and not codes & note.asserted
    assert copies > len(chains("brief"))


@pytest.mark.parametrize("style", STYLES)
def test_a_mention_says_little(style: Style) -> None:
    said, true = Counter[str](), Counter[str]()
    for note in notes(style):
        said.update(mentioned(note))
        true.update(note.asserted)
    assert 0.33 < true.total() / said.total() < 0.45
    for code, _ in true.most_common(20):
        assert 0.25 < true[code] / said[code] < 0.55


@pytest.mark.parametrize("style", STYLES)
def test_true_conditions_are_mentioned_as_often_as_others(style: Style) -> None:
    times: dict[bool, list[int]] = {True: [], False: []}
    for note in notes(style):
        counts = Counter(condition.code for statement in note.statements for condition in statement.conditions)
        for code, count in counts.items():
            times[code in note.asserted].append(count)
    assert np.mean(times[True]) == pytest.approx(np.mean(times[False]), rel=0.05)


def test_cues_are_balanced() -> None:
    families = [Counter(statement.family for statement in note.statements) for note in notes()]
    assert all(count["asserted"] >= 1 and len(count) >= 4 for count in families)
    for family in ("negated", "family", "resolved", "hedged"):
        assert sum(count[family] > 0 for count in families) > 0.85 * len(families)


def test_the_words_around_a_mention_are_those_of_every_family() -> None:
    before: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    for note in notes():
        for statement in note.statements:
            for condition in statement.conditions:
                for surface in condition.surfaces:
                    for match in re.finditer(rf"(\w+)\W+{re.escape(surface)}\b", statement.text):
                        before[statement.family == "asserted"][match[1].lower()] += 1
    gap_ends = {gap.split()[-1] for gap in LEXICON.gaps["brief"]} | {"of", "for", "with", "by"}
    for word in gap_ends:
        shares = [before[side][word] / before[side].total() for side in (True, False)]
        assert min(shares) > 0.2 * max(shares), word


def test_labels_are_long_tailed_and_occur_together() -> None:
    counts = Counter(code for note in notes() for code in note.asserted)
    frequencies = [count for _, count in counts.most_common()]
    assert (
        len(frequencies) == 40 and frequencies[0] > 2 * frequencies[19] and sum(frequencies[:20]) > 0.6 * counts.total()
    )
    pairs = Counter(pair for note in notes() for pair in combinations(sorted(note.asserted), 2))
    cluster = {condition.code: condition.cluster for condition in LEXICON.conditions}
    alike = {True: 0.0, False: 0.0}
    expected = {True: 0.0, False: 0.0}
    for one, other in combinations(sorted(counts), 2):
        same = cluster[one] == cluster[other]
        alike[same] += pairs[one, other]
        expected[same] += counts[one] * counts[other] / len(notes())
    assert alike[True] / expected[True] > 1.3 * alike[False] / expected[False]


def test_style_sets_the_length() -> None:
    words = {style: np.array([len(re.findall(r"\w+|[^\w\s]", note.text)) for note in notes(style)]) for style in STYLES}
    assert np.percentile(words["handoff"], 95) < 60
    assert np.percentile(words["brief"], 95) < 118
    assert 280 < words["full"].mean() < 450
    assert all(len(line) <= 76 for note in notes("full") for line in note.text.split("\n"))


def test_sections_stand_in_their_usual_order() -> None:
    for note in notes("full")[:200]:
        present = [line.split(":")[0] for line in note.text.split("\n") if line.split(":")[0] in SECTIONS]
        assert present == [section for section in SECTIONS if section in present]
        assert {"CHIEF COMPLAINT", "HISTORY OF PRESENT ILLNESS", "HOSPITAL COURSE", "DISCHARGE"} <= set(present)
        assert "[**2101-3-4**]" in note.text


def test_an_unknown_style_raises() -> None:
    with pytest.raises(ValueError, match="handoff, brief, full"):
        SyntheticNotes("long")  # type: ignore[arg-type]
