"""Laws of the outcome tasks: equal to a second, slower way on random tables, and every oddity by hand."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import polars as pl
import pytest
from support.outcome_definition import expected
from support.outcome_tables import HEADERS, Row, moment, tables, write

from clinlm.config.errors import DataError
from clinlm.corpora.base import COLUMNS
from clinlm.corpora.mimic.mimic3_outcomes import CODES, Mimic3Outcomes, Outcome
from clinlm.corpora.synthetic.synthetic import Synthetic

OUTCOMES: Sequence[Outcome] = get_args(Outcome)
NOTE = "Chief Complaint:\n{}\n\nService: MED"
TEXT = "CHIEF COMPLAINT: {}\n\nPRESENT ILLNESS: \n\nMEDICAL HISTORY: \n\nMEDICATION ON ADMISSION: \n\n"
TEXT += "ALLERGIES: \n\nPHYSICAL EXAM: \n\nFAMILY HISTORY: \n\nSOCIAL HISTORY: "


@pytest.mark.parametrize("start", range(0, 120, 15))
def test_random_tables_come_out_as_by_a_slower_way(tmp_path: Path, start: int) -> None:
    found = 0
    for seed in range(start, start + 15):
        root = write(tmp_path / str(seed), tables(seed))
        outcome = OUTCOMES[seed % 4]
        right = expected(root, outcome)
        found += len(right)
        if right:
            assert rows(root, outcome) == right, seed
        else:
            with pytest.raises(ValueError, match="a corpus must have a note"):
                rows(root, outcome)
    assert found > 15


def rows(root: Path, outcome: Outcome, **settings: Any) -> list[tuple[str, str, str, tuple[str, ...]]]:
    frame = Mimic3Outcomes(root, outcome, **settings).records().frame
    return [(i, g, t, tuple(own)) for i, g, t, own in frame.select("id", "group", "text", "labels").iter_rows()]


def note(stay: object, text: str = NOTE.format("pain"), **other: object) -> Row:
    cells: Mapping[str, object] = {
        "ROW_ID": 1,
        "SUBJECT_ID": 1,
        "HADM_ID": stay,
        "CHARTDATE": "2101-01-02",
        "CATEGORY": "Discharge summary",
        "DESCRIPTION": "Report",
        "ISERROR": "",
        "TEXT": text,
    }
    return list({**cells, **other}.values())


def stay(number: int, died: object = 0, kind: str = "EMERGENCY", seconds: float = 0) -> Row:
    return (number, 1, number, "2101-01-01 00:00:00", moment(seconds), kind, "WHITE", died)


def codes(*pairs: tuple[object, str]) -> list[Row]:
    return [(1, 1, stay, 1, code) for stay, code in pairs]


def made(root: Path, notes: Sequence[Row], stays: Sequence[Row] | None = None, **codes: list[Row]) -> Path:
    empty: dict[str, list[Row]] = {name: [] for name in HEADERS}
    stays = stays or [stay(number) for number in (1, 2, 3)]
    return write(root, {**empty, "NOTEEVENTS": list(notes), "ADMISSIONS": list(stays), **codes})


def test_records_have_the_shape_of_a_corpus(tmp_path: Path) -> None:
    root = made(tmp_path, [note("2.0", SUBJECT_ID="7"), note(1, NOTE.format("fall"))])
    frame = Mimic3Outcomes(root, "mortality").records().frame
    assert tuple(frame.columns) == COLUMNS
    assert frame["id"].to_list() == ["1", "2"] and frame["group"].to_list() == ["1", "7"]
    assert frame["text"].to_list() == [TEXT.format("fall"), TEXT.format("pain")]
    assert frame["attributes"].struct.field("ethnicity").to_list() == ["WHITE", "WHITE"]
    assert frame["attributes"].struct.field("age").to_list() == [None, None]


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_patients_are_not_needed_and_only_the_tables_of_the_outcome_are(tmp_path: Path, outcome: Outcome) -> None:
    root = made(tmp_path, [note(1)], DIAGNOSES_ICD=codes((1, "038")), PROCEDURES_ICD=codes((1, "038")))
    before = Mimic3Outcomes(root, outcome)
    mark, frame = before.fingerprint(), before.records().frame
    (root / "PATIENTS.csv").unlink()
    for table in {*CODES.values()} - {CODES.get(outcome)}:
        (root / f"{table}.csv").unlink()
    after = Mimic3Outcomes(root, outcome)
    assert after.records().frame.equals(frame) and after.fingerprint() != mark and not after.remote_allowed


def test_which_notes_make_a_text(tmp_path: Path) -> None:
    more = "\n\nAllergies:\nnone\n\nEnd:"
    notes = [
        note(1, more, DESCRIPTION="Addendum", CHARTDATE=""),  # the last: no date
        note(1, "\n" + NOTE.format("pain")),
        note(1, NOTE.format("dropped"), CATEGORY="Discharge summary "),
        note(1, "NA"),
        note(2, NOTE.format("b"), CHARTDATE="2101-01-03", ISERROR="1"),
        note(2, NOTE.format("a"), CHARTDATE="2101-01-02"),
        note(3, NOTE.format("addendum alone"), DESCRIPTION="Addendum"),
        note("", NOTE.format("nowhere")),
        note(9, NOTE.format("unknown")),
    ]
    text = rows(made(tmp_path, notes), "mortality")
    assert [one[2] for one in text] == [TEXT.format("pain").replace("ALLERGIES: ", "ALLERGIES: none"), TEXT.format("a")]


def test_the_last_of_identical_texts_stays_and_equal_dates_keep_their_order(tmp_path: Path) -> None:
    notes = [note(1), note(2), note(3, NOTE.format("x")), note(3, NOTE.format("y"))]
    assert [(one[0], one[2]) for one in rows(made(tmp_path, notes), "mortality")] == [
        ("2", TEXT.format("pain")),
        ("3", TEXT.format("x")),
    ]


def test_the_last_report_names_the_patient(tmp_path: Path) -> None:
    notes = [note(1, SUBJECT_ID=1), note(1, "b", SUBJECT_ID=2), note(1, "c", SUBJECT_ID=3, DESCRIPTION="report")]
    notes += [note(2, NOTE.format("x")), note(2, "d", SUBJECT_ID="")]
    assert [one[:2] for one in rows(made(tmp_path, notes), "mortality")] == [("1", "2")]


def test_newborns_are_exactly_those(tmp_path: Path) -> None:
    kinds = ("NEWBORN", "newborn", "", "NEWBORN ")
    stays = [stay(number, kind=kind) for number, kind in enumerate(kinds)]
    root = made(tmp_path, [note(number, NOTE.format(number)) for number in range(4)], stays)
    assert [one[0] for one in rows(root, "mortality")] == ["1", "2", "3"]
    assert [one[0] for one in rows(root, "mortality", definition="strict")] == ["2"]


def test_mortality(tmp_path: Path) -> None:
    notes = [note(number, NOTE.format(text)) for number, text in enumerate(("a", "b", "c", "pt expired"))]
    root = made(tmp_path, notes, [stay(0, 0), stay(1, "1.0"), stay(2, ""), stay(3, 1)])
    corpus = Mimic3Outcomes(root, "mortality").records()
    assert corpus.frame["labels"].to_list() == [["survived"], ["died"]]
    assert "1 of 3 admissions dropped: the note mentions death, 1 of them of patients who died" in corpus.notices
    with pytest.raises(ValueError, match="HOSPITAL_EXPIRE_FLAG must be 0 or 1"):
        rows(made(tmp_path, notes, [stay(0, 2)]), "mortality")


def test_length_of_stay(tmp_path: Path) -> None:
    days = (-0.5, 0, 3, 3.04, 3.06, 7.04, 7.06, 14.049, 14.051, 99)
    stays: list[Row] = [stay(number, seconds=86400 * day) for number, day in enumerate(days)]
    stays += [stay(50, 1), stay(51, ""), (52, 1, 52, "", "2101-01-01", "URGENT", "", 0)]
    numbers = [*range(len(days)), 50, 51, 52]
    root = made(tmp_path, [note(number, NOTE.format(number)) for number in numbers], stays)
    names = ["at most 3 days", "over 3 to 7 days", "over 7 to 14 days", "over 14 days"]
    places = [0, 0, 0, 0, 1, 1, 2, 2, 3, 3]
    records = Mimic3Outcomes(root, "length_of_stay").records()
    assert [own for (own,) in records.frame["labels"].to_list()] == [names[place] for place in places]
    assert "1 of 11 admissions dropped: no ADMITTIME or no DISCHTIME" in records.notices
    backwards = "1 of 10 admissions with DISCHTIME before ADMITTIME"
    assert f"{backwards} kept as 'at most 3 days', as published" in records.notices
    strict = Mimic3Outcomes(root, "length_of_stay", "strict").records()
    assert f"{backwards} dropped" in strict.notices and strict.frame.height == records.frame.height - 1


@pytest.mark.parametrize(("zones", "refused"), [(("Z", "Z"), False), (("Z", ""), True), (("+02:00", "Z"), False)])
def test_times_have_a_zone_all_or_none(tmp_path: Path, zones: tuple[str, str], refused: bool) -> None:
    times = [f"2101-01-0{day} 00:00:00{zone}" for day, zone in zip((1, 6), zones, strict=True)]
    root = made(tmp_path, [note(1)], [(1, 1, 1, *times, "EMERGENCY", "WHITE", 0)])
    if refused:
        with pytest.raises(DataError, match="must all have a time zone or none, 1 of 2 times have one"):
            rows(root, "length_of_stay")
    else:
        assert [labels for *_, labels in rows(root, "length_of_stay")] == [("over 3 to 7 days",)]


@pytest.mark.parametrize(
    ("outcome", "definition", "pairs", "labels"),
    [
        ("diagnoses_3digit", "published", [(1, "V4581"), (1, "E8889"), (1, "0389"), (1, "")], ["V458", "E888", "038"]),
        ("procedures_3digit", "published", [(1, "V4581"), (1, "E8889"), (1, "0389")], ["V45", "E88", "038"]),
        ("diagnoses_3digit", "published", [(1, "0389"), (1, "389"), (1, "4")], ["389", "4"]),
        ("procedures_3digit", "published", [(1, "0066"), (1, "389"), (2, "")], ["66.", "389"]),
        ("procedures_3digit", "strict", [(1, "0066"), (1, "389"), (2, "")], ["006", "389"]),
        ("diagnoses_3digit", "strict", [(1, "0389"), (1, "389"), ("", "x"), (1, "v451")], ["038", "389", "V451"]),
        ("diagnoses_3digit", "published", [(2, "x"), (1, "4019"), (1, "25000"), (1, "4011")], ["401", "250"]),
    ],
)
def test_codes(
    tmp_path: Path, outcome: Outcome, definition: Any, pairs: list[tuple[object, str]], labels: list[str]
) -> None:
    root = made(tmp_path, [note(1)], **{CODES[outcome]: codes(*pairs)})
    corpus = Mimic3Outcomes(root, outcome, definition)
    assert corpus.records().frame["labels"].to_list() == [labels]
    assert set(labels) <= set(corpus.codes())


def test_admissions_without_codes_go_but_their_codes_count(tmp_path: Path) -> None:
    root = made(tmp_path, [note(1), note(2, NOTE.format("b"))], DIAGNOSES_ICD=codes((9, "999"), (1, "401"), ("", "V1")))
    corpus = Mimic3Outcomes(root, "diagnoses_3digit")
    records = corpus.records()
    assert records.frame["id"].to_list() == ["1"] and corpus.codes() == ["999", "401", "V1"]
    assert "1 of 2 admissions dropped: no code in DIAGNOSES_ICD" in records.notices


def test_strict_counts_what_it_leaves_out(tmp_path: Path) -> None:
    notes = [
        note(1),
        note(1, NOTE.format("wrong"), ISERROR="1"),
        note(2, "Past Medical History:\ngout\nBrief Hospital Course:\nsepsis\n\nEnd:", SUBJECT_ID=2),
        note(3, NOTE.format("pain") + " ", SUBJECT_ID=3),
        note(3, "Allergies:\nnuts\n\nEnd:", SUBJECT_ID=3, DESCRIPTION="Addendum"),
    ]
    records = Mimic3Outcomes(made(tmp_path, notes), "mortality", "strict").records()
    assert records.frame["group"].to_list() == ["1", "2", "1"]
    gout = TEXT.format("").replace("HISTORY: \n\nMEDICATION", "HISTORY: gout\n\nMEDICATION")
    assert records.frame["text"].to_list() == [TEXT.format("pain"), gout, TEXT.format("pain")]
    for told in ("ISERROR = 1", "not written as a report", "differ from the published", "share an admission note"):
        assert any(told in notice for notice in records.notices), told


def test_published_lists_split(tmp_path: Path) -> None:
    notes = [note(1), note(2, NOTE.format("b"), SUBJECT_ID=2), note(3, NOTE.format("c"), SUBJECT_ID=3)]
    root = made(tmp_path, notes)
    for name, people in (("train", "1\n2"), ("val", "2\n2"), ("test", "5")):
        (root / f"mimic_{name}.csv").write_text(f"SUBJECT_ID\n{people}\n")
    records = Mimic3Outcomes(root, "mortality", lists_root=root).records()
    assert records.splits == {"1": "train", "2": "validation"} and records.frame["id"].to_list() == ["1", "2"]
    assert "1 of 3 admissions dropped: their patient is in no list" in records.notices
    assert any("are in several lists" in notice for notice in records.notices)
    (root / "mimic_val.csv").unlink()
    with pytest.raises(FileNotFoundError, match="mimic_val.csv"):
        Mimic3Outcomes(root, "mortality", lists_root=root).fingerprint()


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_generated_notes_stand_in_for_the_tables(tmp_path: Path, outcome: Outcome) -> None:
    corpus = Mimic3Outcomes(None, outcome, generated=Synthetic(tmp_path, patients=60, style="admission"))
    mark, records = corpus.fingerprint(), corpus.records()
    assert corpus.remote_allowed and corpus.fingerprint() == mark and records.notices[0].startswith("generated notes")
    assert records.frame.height > 30 and records.frame["labels"].list.len().min() >= 1


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"root": "x", "outcome": "x"}, "outcome must be one of"),
        ({"root": "x", "outcome": "mortality", "definition": "x"}, "published or strict"),
        ({"root": None, "outcome": "mortality"}, "got null"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Mimic3Outcomes(**settings)


def test_errors_hold_no_note(tmp_path: Path) -> None:
    root = made(tmp_path, [note("secret", "secret")])
    with pytest.raises(ValueError, match="HADM_ID must be a whole number") as error:
        rows(root, "mortality")
    assert "secret" not in str(error.value)
    assert isinstance(Mimic3Outcomes(made(tmp_path, [note(1)]), "mortality").records().frame, pl.DataFrame)
