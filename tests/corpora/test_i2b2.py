"""Laws of the readers of i2b2: what is written comes back, on random files, and every oddity by hand."""

import random
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import pytest

from clinlm.config.errors import ConfigError, DataError, MissingFileError
from clinlm.corpora.base import COLUMNS
from clinlm.corpora.i2b2.i2b2_concepts import I2b2Concepts
from clinlm.corpora.i2b2.i2b2_obesity import I2b2Obesity
from clinlm.corpora.i2b2.i2b2_smoking import STATUSES, I2b2Smoking

WORDS = ("Chest", "pain", "b.i.d.", '"q"', "(mild)", "é", "CT", "aspirin", ",", "no")
LABELS = ("problem", "test", "treatment")


def concepts(rng: random.Random, root: Path, name: str, apart: bool) -> tuple[str, list[tuple[int, int, str]]]:
    """Write a pair; return its text and its spans."""
    lines = [[rng.choice(WORDS) for _ in range(rng.randint(0, 9))] for _ in range(rng.randint(1, 6))]
    gaps = [[rng.choice((" ", " ", "  ", "\t")) for _ in own] for own in lines]
    text, places = "", []
    for own, space in zip(lines, gaps, strict=True):
        row = []
        for word, gap in zip(own, space, strict=True):
            row.append((len(text), len(text) + len(word)))
            text += word + gap
        places.append(row)
        text += "\n"
    flat = [(line, token) for line, own in enumerate(places) for token in range(len(own))]
    spans, written = set(), []
    for _ in range(rng.randint(0, 4) if flat else 0):
        begin = rng.randrange(len(flat))
        end = min(len(flat) - 1, begin + rng.randint(0, 3))
        (line, token), (last, final), label = flat[begin], flat[end], rng.choice(LABELS)
        span = (places[line][token][0], places[last][final][1], label)
        words = " ".join(text[span[0] : span[1]].lower().split())
        written.append(f'c="{words}" {line + 1}:{token} {last + 1}:{final}||t="{label}"')
        spans.add(span)
    folders = ("txt", "concept") if apart else ("", "")
    for folder, ending, content in zip(folders, ("txt", "con"), (text, "\n".join(written)), strict=True):
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / f"{name}.{ending}").write_text(content, encoding="utf-8")
    return text, sorted(spans)


@pytest.mark.parametrize("apart", [True, False])
def test_concepts_come_back_where_they_were_written(tmp_path: Path, apart: bool) -> None:
    rng = random.Random(3)
    right = {f"site/{number}": concepts(rng, tmp_path / "site", str(number), apart) for number in range(60)}
    records = I2b2Concepts(tmp_path).records()
    assert records.frame.columns == [*COLUMNS, "spans"] and not I2b2Concepts.remote_allowed
    found = {
        id: (text, [(span["start"], span["end"], span["label"]) for span in spans])
        for id, text, spans in records.frame.select("id", "text", "spans").iter_rows()
    }
    assert found == {name: own for name, own in right.items() if own[0].strip()}
    assert not any("not the words at their offsets" in notice for notice in records.notices)


def pair(root: Path, text: str = "One two\nthree", line: str = 'c="two three" 1:1 2:0||t="problem"') -> I2b2Concepts:
    (root / "a.txt").write_text(text)
    (root / "a.con").write_text(f"{line}\n")
    return I2b2Concepts(root)


def test_a_concept_that_is_not_where_it_says_is_dropped_by_name(tmp_path: Path) -> None:
    lines = 'c="two" 1:1 1:1||t="test"\nc="secret" 1:0 1:0||t="test"\nc="two" 7:0 7:9||t="test"'
    records = pair(tmp_path, line=lines).records()
    assert [len(spans) for spans in records.frame["spans"]] == [1]
    (told,) = [notice for notice in records.notices if "dropped" in notice]
    assert "2 of 3 entities dropped" in told and "line 2" in told and "secret" not in told


@pytest.mark.parametrize("line", ['c="secret" 1:1||t="x"', "secret", 'c="a" 1:1 1:1||t=""'])
def test_a_line_in_another_format_is_an_error_without_text(tmp_path: Path, line: str) -> None:
    with pytest.raises(DataError, match="a.con line 1; repair it") as error:
        pair(tmp_path, line=line).records()
    assert "secret" not in str(error.value)


def test_pairs_are_found_by_unique_names_and_halves_alone_are_named(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    pair(tmp_path)
    (tmp_path / "a.txt").rename(tmp_path / "texts" / "a.txt")
    assert I2b2Concepts(tmp_path).records().frame["id"].to_list() == ["texts/a"]
    (tmp_path / "texts" / "b.txt").write_text("x")
    with pytest.raises(MissingFileError, match="has b.txt alone"):
        I2b2Concepts(tmp_path).fingerprint()
    assert I2b2Concepts(tmp_path, ignore=["b.txt"]).records().frame.height == 1
    with pytest.raises(ConfigError, match="ignore must be a list"):
        I2b2Concepts(tmp_path, ignore="b.txt")
    with pytest.raises(MissingFileError, match=r"NAME.con, .* lacks any; add the other"):
        I2b2Concepts(tmp_path, ignore=["*"]).records()


def smoking(root: Path, *records: str) -> Path:
    path = root / "smokers.xml"
    path.write_text("<ROOT>" + "".join(records) + "</ROOT>", encoding="utf-8")
    return path


def record(id: int, status: str = "SMOKER", text: str = "notes &amp; more") -> str:
    return f'<RECORD ID="{id}"><SMOKING STATUS={quoteattr(status)}/><TEXT>{text}</TEXT></RECORD>'


def test_smoking(tmp_path: Path) -> None:
    rows = [record(number, status) for number, status in enumerate(STATUSES)]
    path = smoking(tmp_path, *rows, record(7, text=" "), '<RECORD ID="8"><TEXT>x</TEXT></RECORD>')
    records = I2b2Smoking(path).records()
    assert tuple(records.frame.columns) == COLUMNS and records.splits is None
    assert [own for (own,) in records.frame["labels"].to_list()] == list(STATUSES)
    assert set(records.frame["text"]) == {"notes & more"}
    assert records.notices == ("1 of 7 records dropped: no text", "1 of 7 records dropped: no smoking status")
    path.rename(tmp_path / "train.xml")
    smoking(tmp_path, record(99))
    for use in (I2b2Smoking(tmp_path).records, I2b2Smoking(tmp_path).fingerprint):
        with pytest.raises(DataError, match="root must be a file, got the folder"):
            use()
    both = I2b2Smoking(tmp_path, files={"train": "train.xml", "test": "smokers.xml"}).records()
    assert both.splits == {**{str(number): "train" for number in range(5)}, "99": "test"}


@pytest.mark.parametrize(
    ("rows", "law"),
    [
        ([record(1), record(1)], "an ID must be that of one record"),
        ([record(1, "secret")], "STATUS must be one of"),
        (["<RECORD><TEXT>secret</TEXT></RECORD>"], "every RECORD must have id"),
        ([record(1, text=" ")], "1 of 1 records dropped: no text"),
        (["<RECORD>secret & </RECORD>"], "smokers.xml is none from line 1, column 23 on"),
        (["<RECORD>&secret;</RECORD>"], "the file must be XML"),
    ],
)
def test_bad_xml_is_an_error_without_text(tmp_path: Path, rows: list[str], law: str) -> None:
    with pytest.raises(DataError, match=law) as error:
        I2b2Smoking(smoking(tmp_path, *rows)).records()
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(("encoding", "known"), [("utf-7", False), ("secret", False), ("hex", False), ("cp1252", True)])
def test_an_encoding_that_xml_cannot_have_is_named(tmp_path: Path, encoding: str, known: bool) -> None:
    path = smoking(tmp_path, record(1))
    path.write_bytes(f"<?xml version='1.0' encoding='{encoding}'?>".encode() + path.read_bytes())
    if known:
        assert I2b2Smoking(path).records().frame.height == 1
        return
    with pytest.raises(DataError, match="smokers.xml names another .*; convert it to UTF-8") as error:
        I2b2Smoking(path).records()
    assert "secret" not in str(error.value)


def obesity(root: Path, judgments: dict[tuple[str, str, int], str], docs: int = 3) -> I2b2Obesity:
    texts = "".join(f'<doc id="{number}"><text>note {number}</text></doc>' for number in range(docs))
    (root / "records.xml").write_text(f"<root><docs>{texts}</docs></root>")
    found = ""
    for source in ("intuitive", "textual"):
        own = {(name, doc): found for (kind, name, doc), found in judgments.items() if kind == source}
        named = {name: [(doc, own[name, doc]) for other, doc in own if other == name] for name, _ in own}
        rows = "".join(
            f'<disease name="{name}">'
            + "".join(f'<doc id="{doc}" judgment="{one}"/>' for doc, one in docs)
            + "</disease>"
            for name, docs in named.items()
        )
        found += f'<diseases source="{source}">{rows}</diseases>'
    (root / "judgments.xml").write_text(f"<diseaseset>{found}</diseaseset>")
    return I2b2Obesity(root)


def test_obesity_on_random_judgments(tmp_path: Path) -> None:
    rng, names = random.Random(5), ("Asthma", "CAD", "Obesity")
    places = [(kind, name, doc) for kind in ("intuitive", "textual") for name in names for doc in range(30)]
    judged = {place: rng.choice("YYNQU") for place in places if rng.random() < 0.9}
    obesity(tmp_path, judged, 30)
    for source in ("intuitive", "textual"):
        records = I2b2Obesity(tmp_path, source).records()  # type: ignore[arg-type]
        right = [[name for name in names if judged.get((source, name, doc)) == "Y"] for doc in range(30)]
        assert records.frame["labels"].to_list() == right
        missing = sum(place[0] == source and place not in judged for place in places)
        assert f"{missing} of 90 judgments are missing: read as not present" in records.notices


@pytest.mark.parametrize(
    ("judged", "law"),
    [
        ({("intuitive", "CAD", 0): "secret"}, "a judgment must be one of Y, N, Q, U"),
        ({("textual", "CAD", 0): "Y"}, "a corpus must have notes and intuitive judgments"),
    ],
)
def test_bad_judgments_are_errors(tmp_path: Path, judged: Any, law: str) -> None:
    with pytest.raises(DataError, match=law) as error:
        obesity(tmp_path, judged).records()
    assert "secret" not in str(error.value)
    with pytest.raises(ConfigError, match="source must be intuitive or textual"):
        I2b2Obesity(tmp_path, "x")  # type: ignore[arg-type]
    with pytest.raises(MissingFileError, match="root must be a folder of .xml files"):
        I2b2Obesity(tmp_path / "none").records()


def test_judgments_of_no_doc_are_counted(tmp_path: Path) -> None:
    records = obesity(tmp_path, {("intuitive", "CAD", 0): "Y", ("intuitive", "CAD", 9): "Y"}).records()
    assert "1 judgments left out: of docs that have no text" in records.notices
