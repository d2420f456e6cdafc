"""Laws of the PubTator reader."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinlm.corpora.base import COLUMNS, Records
from clinlm.corpora.pubtator import Pubtator

PASSAGES = st.text(st.sampled_from("ab é\u0301µ😀中\u00a0\u2028-|'"), max_size=20)
DOCUMENT = """1|t|Fever after aspirin
1|a|It | and gout | or both.
1	0	5	Fever	Disease	D005334
1	12	19	aspirin	Chemical	D001241
1	29	43	gout | or both	CompositeMention	-1	D1|D2	gout|both
1	CID	D001241	D005334
"""


def told(records: Records) -> list[tuple[str, str]]:
    rows = zip(records.frame["text"], records.frame["spans"].to_list(), strict=True)
    return [(text[one["start"] : one["end"]], one["label"]) for text, spans in rows for one in spans]


@settings(max_examples=30)
@given(st.data())
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("pubtator") / "corpus.txt"
    lines, texts, spans = [], [], []
    for name in range(data.draw(st.integers(1, 3))):
        title, abstract = data.draw(PASSAGES), data.draw(PASSAGES) + "fever"
        text = f"{title}\n{abstract}"
        edges = st.tuples(st.integers(0, len(text)), st.integers(0, len(text)))
        own = {tuple(sorted(pair)) for pair in [*data.draw(st.lists(edges, max_size=4)), (len(text) - 5, len(text))]}
        solid = sorted((s, e) for s, e in own if text[s:e] and not text[s].isspace() and not text[e - 1].isspace())
        lines += [f"{name}|t|{title}", f"{name}|a|{abstract}"]
        lines += ["\t".join([str(name), str(s), str(e), text[s:e].replace("\n", " "), "X", "D1"]) for s, e in solid]
        lines.append("")
        texts.append(text)
        spans.append([{"start": s, "end": e, "label": "X"} for s, e in solid])
    path.write_bytes(("\r\n".join(lines)).encode("utf-8-sig"))
    records = Pubtator(path).records()
    assert records.frame["text"].to_list() == texts
    assert records.frame["spans"].to_list() == spans
    assert not any("their offsets" in notice for notice in records.notices)


def test_titles_abstracts_entities_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "corpus.txt.gz"
    path.write_bytes(gzip.compress(f"{DOCUMENT}2|t|\n2|a|Well\n".encode()))
    records = Pubtator(path).records()
    assert records.frame.columns == [*COLUMNS, "spans"]
    assert records.frame.select("id", "group", "text").rows() == [
        ("1", "1", "Fever after aspirin\nIt | and gout | or both."),
        ("2", "2", "\nWell"),
    ]
    assert told(records) == [("Fever", "Disease"), ("aspirin", "Chemical"), ("gout | or both", "CompositeMention")]
    assert records.notices == (
        "1 lines not read: relations",
        "1 composite entities, each read as one span",
        "1 of 2 documents have no span",
    )
    mapped = Pubtator(path, {"Disease": "DISEASE"}).records()
    assert told(mapped) == [("Fever", "DISEASE")]


def test_splits_are_files_and_a_document_is_in_the_later_one(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(DOCUMENT)
    (tmp_path / "b.txt").write_text(DOCUMENT.replace("1|", "2|").replace("1\t", "2\t").replace("Fever", "Chill"))
    (tmp_path / "c.txt").write_text(DOCUMENT)
    files = {"train": "a.txt", "validation": "b.txt", "test": "c.txt"}
    corpus = Pubtator(tmp_path, files=files)
    records = corpus.records()
    assert records.splits == {"1": "test", "2": "validation"} and records.frame["id"].to_list() == ["2", "1"]
    assert "1 of 3 documents dropped: their group is in a later split, too" in records.notices
    before = corpus.fingerprint()
    (tmp_path / "c.txt").write_text(DOCUMENT + "\n")
    assert corpus.fingerprint() != before


def test_words_that_do_not_stand_at_their_offsets_are_dropped_and_named(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("1|t|A secret\n1\t0\t1\tA\tX\n1\t0\t1\tsecret\tX\n1\t2\t99\tsecret\tX\n")
    records = Pubtator(path).records()
    assert told(records) == [("A", "X")]
    assert records.notices == (
        "2 of 3 entities dropped: not the words at their offsets (first: 1 line 3, 1 line 4): 2 with words elsewhere "
        "in the text",
    )


TEXT = "1|t|Aspirin in fever\n1|a|Fever fell after aspirin.\n"
FEVER = "1\t0\t7\tAspirin\tX\n"


@pytest.mark.parametrize(
    ("lines", "found", "notice"),
    [
        (TEXT.replace("|t|", "|T|").replace("|a|", "|A|") + FEVER, ["Aspirin"], ""),
        (f"{TEXT}{FEVER}1\tCPR:4\tD1\tD2\n1\tINDIRECT-REGULATOR\tD1\tD2\n", ["Aspirin"], "2 lines not read: relations"),
        (f"{TEXT}1\t-1\t-1\tfever\tX\n{FEVER}", ["Aspirin"], "1 entities not read: without place (-1)"),
        (f"{FEVER}{TEXT}\n2|t|x\n\n1\t34\t41\taspirin\tX\n", ["Aspirin", "aspirin"], "1 of 2 documents have no span"),
        (
            f"{TEXT}METHODS: gin.\n1\t52\t55\tgin\tX\n",
            ["gin"],
            "1 lines without PMID read as part",
        ),
        (
            f"{TEXT}1\t35\t42\taspirin\tX\n",
            ["aspirin"],
            "have offsets by passages with two characters",
        ),
        ("1|t| Aspirin \n1|a| é aspirin\n1\t10\t17\taspirin\tX\n", ["aspirin"], "without white space at its edges"),
        ("1|t|é fever\n1|a|É aspirin\n1\t12\t19\taspirin\tX\n", ["aspirin"], "have offsets by bytes of UTF-8"),
        (f"{TEXT}{FEVER}\n{TEXT}{FEVER}", ["Aspirin"], "1 of 2 documents dropped: exact repeats of another"),
    ],
)
def test_what_is_certain_is_read_and_told(tmp_path: Path, lines: str, found: list[str], notice: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text(lines, encoding="utf-8")
    records = Pubtator(path).records()
    assert [words for words, _ in told(records)] == found
    assert notice in "\n".join(records.notices) and len(records.notices) == bool(notice)


def test_bad_input_is_an_error_without_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for text, law in (
        ("secret\n", "line 1 is not under a title"),
        ("1|t|a\n2\t0\t1\ta\tX\n", "line 2 is not under a title"),
        ("1|t|secret\n1\t0\tsecret\n", "line 2 is not a passage"),
        ("1|t|secret\n1\t0\t1\ts\t\n", "line 2 is not a passage"),
        ("1|t|secret\n1|t|secret\n1\t0\t1\ts\tX", "1 name several"),
        ("1|t|a secret\n1|t|secret\n1\t0\t6\tsecret\tX\n1|t|secret\n", "1 name several"),
        ("1|t|secret\n1 0 6 secret X D1\n", "line 2 has spaces where tabs must be"),
        ("1|t|a secret\n1\t7\t9\tsecret\tX", "1 of 1 have not .first: 1 line 2.: 1 with words elsewhere in the text"),
        ("1|t|secret\n", "no span at all"),
        ("1|t| \n", "got 1 documents without text"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=law) as caught:
            Pubtator(path).records()
        assert "secret" not in str(caught.value)
    with pytest.raises(ValueError, match="got the folder .*; set files"):
        Pubtator(tmp_path).records()
    with pytest.raises(FileNotFoundError, match="does not exist"):
        Pubtator(tmp_path / "b.txt").records()
