"""Laws of the corpus of symptoms, on a few invented notes, on invented complaints and on real notes where they are."""

import csv
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from clinlm.corpora.base import COLUMNS, Records
from clinlm.corpora.mtsamples import MTSamples
from clinlm.corpora.symptoms import Symptoms
from clinlm.corpora.synthetic.complaints import SYMPTOMS, Complaints
from clinlm.corpora.table import Table
from clinlm.terminology.lexicon import MASK
from clinlm.terminology.listed import Listed
from clinlm.terminology.mentions import Finder
from clinlm.text import normalization

DATA = Path(__file__).parents[3] / "shared" / "data" / "mtsamples.csv.gz"
LEXICON = Listed({"cough": ["cough", "coughing"], "fever": ["fever", "fevers"], "pain": ["pain"], "rash": ["rash"]})
NOTES = [
    ("n1", "p1", "F", "SUBJECTIVE: Reports cough and fevers. Denies pain.\nPLAN: Rest."),
    ("n2", "p1", "F", "No fever. Coughing at night [**2101-3-4**]."),
    ("n3", "p2", "M", "No fever.\nFAMILY HISTORY:\nMother with cough."),
    ("n4", "p3", "M", "Cough. Rash on the arm."),
    ("n5", "p4", "F", "Seen today, nothing new."),
]
STEPS = {name: getattr(normalization, name) for name in ("headers", "punctuation", "lower_case")}


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    path = tmp_path / "notes.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "group", "sex", "text", "labels"), *((*n, "x") for n in NOTES)])
    return path


def read(path: Path, **settings: Any) -> Records:
    inner = partial(Table, text="text", labels="labels", id="id", group="group", delimiter=";", attributes=["sex"])
    given = {"symptoms": 3, "clean": {"deidentified": normalization.deidentified}, "normalize": STEPS, **settings}
    return Symptoms(path, inner, LEXICON, **given).records()


def told(records: Records) -> dict[str, tuple[str, list[str]]]:
    return {id: (text, labels) for id, text, labels in records.frame.select("id", "text", "labels").iter_rows()}


def complaints(**settings: Any) -> pl.DataFrame:
    lexicon = Listed({name: symptom.words for name, symptom in SYMPTOMS.items()})
    given = {"normalize": STEPS, **settings}
    return Symptoms("", partial(Complaints, patients=60), lexicon, **given).records().frame


def test_sentences_carry_what_they_assert(notes: Path) -> None:
    records = read(notes)
    assert records.frame.columns == list(COLUMNS)
    assert told(records) == {
        "n1-0": ("reports cough and fevers", ["cough", "fever"]),
        "n1-1": ("denies pain", []),
        "n2-0": ("no fever", []),
        "n2-1": ("coughing at night", ["cough"]),
        "n3-2": ("mother with cough", []),
        "n4-0": ("cough", ["cough"]),
    }
    assert records.frame["group"].to_list() == ["p1", "p1", "p1", "p1", "p2", "p3"]
    assert records.frame["attributes"].to_list()[:2] == [
        {"sex": "F", "keywords": "cough;fever", "note": "n1"},
        {"sex": "F", "keywords": "pain", "note": "n1"},
    ]
    assert records.notices[1:] == (
        "1 of 8 sentences with a symptom dropped: none of the 3 kept",
        "1 of 7 sentences dropped: their text is in an earlier one",
        "3 of 6 sentences assert no symptom",
    )


@pytest.mark.parametrize("unit", ["sentence", "note"])
@pytest.mark.parametrize("masked", [True, False])
def test_the_report_says_which_reading_was_taken(notes: Path, unit: str, masked: bool) -> None:
    first = {
        labels: read(notes, unit=unit, labels=labels, mask_triggers=masked).notices[0]
        for labels in ("mention", "asserted")
    }
    assert first["mention"].startswith("labels are mentions, asserted or not")
    assert first["asserted"].startswith("labels are asserted mentions")
    for told in first.values():
        assert f"in a {unit};" in told and told.endswith("are masked" if masked else "in the text")


def test_mentions_are_what_the_words_say(notes: Path) -> None:
    found = told(read(notes, labels="mention"))
    assert [labels for _, labels in found.values()] == [
        ["cough", "fever"], ["pain"], ["fever"], ["cough"], ["cough"], ["cough"],
    ]  # fmt: skip


def test_notes_join_their_sentences(notes: Path) -> None:
    found = told(read(notes, unit="note"))
    assert found["n1"] == ("reports cough and fevers denies pain rest", ["cough", "fever"])
    assert found["n3"] == ("no fever mother with cough", [])
    assert set(found) == {"n1", "n2", "n3", "n4"}
    assert told(read(notes, unit="note", labels="mention"))["n1"][1] == ["cough", "fever", "pain"]


def test_masks_take_the_words_of_the_kept_symptoms(notes: Path) -> None:
    found = told(read(notes, mask_triggers=True))
    assert found["n1-0"] == (f"reports {MASK} and {MASK}", ["cough", "fever"])
    assert found["n1-1"] == (f"denies {MASK}", [])
    assert "rash" in told(read(notes, mask_triggers=True, unit="note"))["n4"][0]


def test_a_label_for_what_is_denied(notes: Path) -> None:
    found = told(read(notes, unasserted="none"))
    assert found["n1-1"][1] == ["none"] and found["n4-0"][1] == ["cough"]
    assert "3 of 6 sentences assert no symptom" in read(notes, unasserted="none").notices


def test_the_symptoms_are_counted_by_unit_or_named(notes: Path) -> None:
    def kept(**settings: Any) -> set[str]:
        frame = read(notes, **settings).frame
        return {name for words in frame["attributes"].struct.field("keywords") for name in words.split(";")}

    assert kept(symptoms=1) == {"cough"}
    assert kept(symptoms=2) == {"cough", "fever"}
    assert kept(symptoms=3) == {"cough", "fever", "pain"}, "a tie goes to the name that sorts first"
    assert kept(symptoms=None) == {"cough", "fever", "pain", "rash"}
    assert kept(symptoms=["rash"]) == {"rash"}
    with pytest.raises(ValueError, match="gout is not; set others"):
        kept(symptoms=["rash", "gout"])


def test_the_words_of_a_label_survive_normalisation(notes: Path) -> None:
    with notes.open("a", encoding="utf-8") as file:
        file.write("n6,p6,F,PAIN: 8/10 today,x\n")
    assert told(read(notes))["n6-0"][0] == "pain 8 10 today"
    assert told(read(notes, mask_triggers=True))["n6-0"][0] == f"{MASK} 8 10 today"


def test_steps_are_left_out_one_by_one(notes: Path) -> None:
    texts = [read(notes, normalize={k: v for k, v in STEPS.items() if k != out}).frame["text"][0] for out in STEPS]
    assert texts == [
        "subjective reports cough and fevers",
        "reports cough and fevers.",
        "Reports cough and fevers",
    ]


def test_a_step_that_takes_masks_away_is_an_error(notes: Path) -> None:
    with pytest.raises(ValueError, match="no step of normalize may remove MASK") as caught:
        read(notes, normalize={"ascii": lambda text: text.encode("ascii", "ignore").decode()})
    assert "cough" not in str(caught.value)


def test_a_corpus_without_the_symptoms_is_an_error(notes: Path) -> None:
    inner = partial(Table, text="text", labels="labels", delimiter=";")
    with pytest.raises(ValueError, match="must mention a symptom of the lexicon"):
        Symptoms(notes, inner, Listed({"gout": ["gout"]})).records()


@pytest.mark.parametrize(
    "settings",
    [{"unit": "word"}, {"labels": "all"}, {"symptoms": 0}, {"symptoms": []}, {"symptoms": "pain"}, {"fraction": 0}],
)
def test_bad_settings_are_errors(notes: Path, settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="got "):
        read(notes, **settings)


@pytest.mark.parametrize("unit", ["sentence", "note"])
@pytest.mark.parametrize("mask_triggers", [False, True])
def test_no_text_stands_in_two_groups_and_no_masked_word_is_left(unit: str, mask_triggers: bool) -> None:
    frame = complaints(unit=unit, mask_triggers=mask_triggers, symptoms=4)
    assert frame["text"].is_unique().all() and frame["id"].is_unique().all()
    assert set(frame["attributes"].struct.fields) == {"keywords", "note"}
    keywords = [set(words.split(";")) for words in frame["attributes"].struct.field("keywords")]
    assert all(set(labels) <= words for labels, words in zip(frame["labels"], keywords, strict=True))
    finder = Finder({name: SYMPTOMS[name].words for name in set().union(*keywords)})
    mentioned = [{m.symptom for m in finder.find(text)} for text in frame["text"]]
    assert mentioned == ([set()] * frame.height if mask_triggers else keywords)
    assert frame["text"].str.contains(MASK).all() == mask_triggers


def test_masks_change_the_text_and_nothing_else() -> None:
    plain, masks = complaints(), complaints(mask_triggers=True)
    both = plain.join(masks, on="id", suffix="_masked")
    assert both.height > 0.9 * plain.height
    assert both.filter(pl.col("labels") != pl.col("labels_masked")).height == 0


def test_a_fraction_holds_whole_groups() -> None:
    every, some = complaints(symptoms=None), complaints(symptoms=None, fraction=0.3)
    share = some["attributes"].struct.field("note").n_unique() / every["attributes"].struct.field("note").n_unique()
    assert 0.3 <= share < 0.4
    assert set(some["group"]) < set(every["group"])
    assert some.equals(complaints(symptoms=None, fraction=0.3))
    assert set(some["group"]) != set(complaints(symptoms=None, fraction=0.3, seed=1)["group"])


def test_the_fingerprint_follows_corpus_lexicon_and_order_of_steps() -> None:
    def fingerprint(patients: int = 3, words: str = "pain", steps: dict[str, Any] = STEPS) -> str:
        lexicon = Listed({"pain": [words]})
        return Symptoms("", partial(Complaints, patients=patients), lexicon, normalize=steps).fingerprint()

    others = [fingerprint(4), fingerprint(words="ache"), fingerprint(steps=dict(reversed(STEPS.items())))]
    assert len({fingerprint(), *others}) == 4 and fingerprint() == fingerprint()


def test_sending_is_allowed_where_the_inner_corpus_allows_it() -> None:
    class Closed(Complaints):  # type: ignore[misc]
        remote_allowed = False

    assert not Symptoms("", Closed, LEXICON).remote_allowed
    assert Symptoms("", Complaints, LEXICON).remote_allowed


def test_real_notes_have_symptoms() -> None:
    if not DATA.is_file():
        pytest.skip(f"no MTSamples at {DATA}")
    five = ["bleeding", "cough", "edema", "fever", "pain"]
    lexicon = Listed({name: [name] for name in five})
    frame = Symptoms(DATA, MTSamples, lexicon, symptoms=five, fraction=0.2).records().frame
    counts = Counter(label for labels in frame["labels"] for label in labels)
    mentioned = Counter(w for words in frame["attributes"].struct.field("keywords") for w in words.split(";"))
    assert set(counts) == set(five)
    assert all(0.2 < counts[name] / mentioned[name] < 0.95 for name in five)
    assert frame.filter(pl.col("text").is_duplicated()).height == 0


def test_notes_without_labels_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    path.write_text("pid,note\n1,Reports cough.\n2,Denies pain.\n3,Has fever.\n")
    inner = partial(Table, text="note", labels=None, group="pid")
    assert Symptoms(path, inner, LEXICON, symptoms=None).records().frame["labels"].to_list() == [
        ["cough"],
        [],
        ["fever"],
    ]
