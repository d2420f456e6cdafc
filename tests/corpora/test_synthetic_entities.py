"""Laws of the invented notes with entities."""

import random
import re

import pytest

from clinlm.corpora.base import COLUMNS, GENERATED, Records
from clinlm.corpora.split import SPLITS
from clinlm.corpora.synthetic.entity_notes import SECTIONS, SLOTS, TRAPS, names, write_entity_note
from clinlm.corpora.synthetic.synthetic_entities import SyntheticEntities


@pytest.fixture(scope="module")
def records() -> Records:
    return SyntheticEntities(patients=60).records()


def told(records: Records) -> list[tuple[str, str, str]]:
    """Split, words (line ends as spaces, in lower case) and label of every entity."""
    assert records.splits is not None
    rows = records.frame.select("group", "text", "spans").iter_rows()
    return [
        (records.splits[group], text[one["start"] : one["end"]].replace("\n", " ").lower(), one["label"])
        for group, text, spans in rows
        for one in spans
    ]


def test_records_have_the_shape_of_a_corpus(records: Records) -> None:
    frame = records.frame
    assert frame.columns == [*COLUMNS, "spans"] and records.notices == (GENERATED,)
    assert frame["id"].is_unique().all() and frame["group"].n_unique() == 60
    assert records.splits is not None and set(records.splits.values()) == set(SPLITS)
    assert frame["spans"].list.len().min() >= 1  # type: ignore[operator]


def test_every_span_holds_a_name_of_its_label(records: Records) -> None:
    found = told(records)
    known = {label: {n.lower() for n in (*names()[label], *names()[f"unseen_{label}"])} for label in SLOTS.values()}
    strange = [words for _, words, label in found if words not in known[label]]
    assert 0 < len(strange) < 0.04 * len(found), "misspelled ones alone"
    spelled = {"".join(sorted(name)) for label in known for name in known[label]}
    assert all("".join(sorted(words)) in spelled for words in strange)


def test_only_test_notes_use_unseen_names(records: Records) -> None:
    unseen = {name.lower() for label in SLOTS.values() for name in names()[f"unseen_{label}"]}
    share = {split: 0.0 for split in SPLITS}
    found = told(records)
    for split in SPLITS:
        own = [words for one, words, _ in found if one == split]
        share[split] = sum(words in unseen for words in own) / len(own)
    assert share["train"] == share["validation"] == 0 and 0.2 < share["test"] < 0.4
    assert not unseen & {name.lower() for label in SLOTS.values() for name in names()[label]}


def test_there_are_words_that_are_names_elsewhere_and_none_here() -> None:
    known = {name.lower() for label in SLOTS.values() for name in names()[label]}
    for sentence in (sentence for sentences in TRAPS.values() for sentence in sentences):
        assert any(re.search(rf"\b{re.escape(name)}\b", sentence.lower()) for name in known), sentence
        assert not {f"{{{slot}}}" for slot in SLOTS} & set(re.findall(r"\{\w+\}", sentence))
    both = set(names()["MEDICATION"]) & set(names()["DISEASE"])
    assert both == {"MS"}


def test_a_written_note_marks_every_slot() -> None:
    rng = random.Random(3)
    text = "\n".join(write_entity_note(rng, 0.5)[0] for _ in range(100))
    assert not set("{}[]|") & set(text.replace("[**", "").replace("**]", ""))
    assert max(map(len, text.split("\n"))) <= 78
    assert all(any(f"{{{slot}}}" in one for own in SECTIONS.values() for one in own) for slot in (*SLOTS, "a", "o"))


def test_the_same_seed_gives_the_same_notes_and_more_patients_only_add() -> None:
    few, more = SyntheticEntities(patients=12).records().frame, SyntheticEntities(patients=15).records().frame
    assert few.equals(SyntheticEntities(patients=12).records().frame)
    assert more.head(few.height).equals(few)
    assert not few.equals(SyntheticEntities(patients=12, seed=1).records().frame)


def test_labels_are_mapped() -> None:
    found = SyntheticEntities(map={"SYMPTOM": "SIGN"}, patients=10).records()
    assert {label for _, _, label in told(found)} == {"SIGN"}


def test_the_fingerprint_follows_the_settings() -> None:
    made = [SyntheticEntities(), SyntheticEntities(patients=30), SyntheticEntities(seed=1), SyntheticEntities("there")]
    prints = [one.fingerprint() for one in (*made, SyntheticEntities(unseen=0))]
    assert len(set(prints)) == 4 and prints[0] == prints[3]


def test_settings_out_of_range_are_errors() -> None:
    with pytest.raises(ValueError, match="patients must be >= 10"):
        SyntheticEntities(patients=9)
    with pytest.raises(ValueError, match="got 2"):
        SyntheticEntities(unseen=2)
