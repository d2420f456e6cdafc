"""Laws of the reader of tokens and tags, on made-up files and on BC5CDR where it is."""

import gzip
from collections import Counter
from itertools import groupby, takewhile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from clinlm.config.validation import CONF
from clinlm.corpora import tag_schemes
from clinlm.corpora.base import COLUMNS, Records
from clinlm.corpora.conll import Conll
from clinlm.corpora.tag_schemes import SCHEMES, Scheme, TokenSpan, find_entities, parse_tag, recognize_scheme

DATA = Path(__file__).parents[3] / "shared" / "data" / "bc5cdr"
TOKENS = st.text(st.sampled_from("abé\u0301😀中\u2028\x85\u00a0-'#O"), min_size=1, max_size=4).filter(str.strip)
SENTENCES = st.lists(st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["", "X", "Y"])), min_size=1), min_size=1)
"""Sentences of runs: how many tokens, and their label, "" for none."""


def tagged(scheme: Scheme, sentence: list[tuple[int, str]]) -> list[str]:
    """The tags of a sentence, written out by the definition of each scheme."""
    tags: list[str] = []
    for number, (length, label) in enumerate(sentence):
        after_same = number > 0 and sentence[number - 1][1] == label
        for place in range(length):
            first, last = place == 0, place == length - 1
            letter = {
                "io": "I",
                "iob1": "B" if first and after_same else "I",
                "iob2": "B" if first else "I",
                "iobes": "S" if first and last else "B" if first else "E" if last else "I",
                "bilou": "U" if first and last else "B" if first else "L" if last else "I",
                "bmes": "S" if first and last else "B" if first else "E" if last else "M",
            }[scheme]
            tags.append(f"{letter}-{label}" if label else "O")
    return tags


def expected(scheme: Scheme, sentence: list[tuple[int, str]]) -> list[TokenSpan]:
    if scheme == "io":  # entities of one label that touch are one
        sentence = [(sum(n for n, _ in run), label) for label, run in groupby(sentence, key=lambda one: one[1])]
    found, at = [], 0
    for length, label in sentence:
        found += [TokenSpan(at, at + length - 1, label)] if label else []
        at += length
    return found


def told(records: Records) -> list[tuple[str, str]]:
    rows = zip(records.frame["text"], records.frame["spans"].to_list(), strict=True)
    return [(text[one["start"] : one["end"]], one["label"]) for text, spans in rows for one in spans]


@settings(max_examples=60)
@given(SENTENCES, st.sampled_from(sorted(SCHEMES)))
def test_every_scheme_is_read_back_and_recognised(sentences: Any, scheme: Scheme) -> None:
    tags = [[parse_tag(tag) for tag in tagged(scheme, one)] for one in sentences]
    assert [find_entities(one, scheme) for one in tags] == [(expected(scheme, one), 0) for one in sentences]
    found = recognize_scheme(tags)
    assert [find_entities(one, found) for one in tags] == [(expected(scheme, one), 0) for one in sentences]


@given(st.lists(st.sampled_from(["O", *(f"{p}-{label}" for p in "BIES" for label in "XY")]), max_size=8))
def test_any_tags_are_read_as_conlleval_reads_them(tags: list[str]) -> None:
    found, broken = find_entities([parse_tag(tag) for tag in tags], "iobes")
    assert found == conlleval(tags)
    assert (broken == 0) == (tags == tagged("iobes", pieces(found, len(tags))))


def pieces(found: list[TokenSpan], size: int) -> list[tuple[int, str]]:
    """Runs, and what is between them token by token."""
    starts = {run.first: run for run in found}
    covered = {place for run in found for place in range(run.first, run.last + 1)}
    return [
        (starts[place].last - place + 1, starts[place].label) if place in starts else (1, "")
        for place in range(size)
        if place in starts or place not in covered
    ]


def conlleval(tags: list[str]) -> list[TokenSpan]:
    """conlleval's two rules, one after the other, as its authors wrote them."""
    found, start = [], -1
    split = [("O", ""), *(("O", "") if tag == "O" else (tag[0], tag[2:]) for tag in tags), ("O", "")]
    for place in range(1, len(split)):
        (p, x), (q, y) = split[place - 1], split[place]
        ends = p in "ES" or (p in "BI" and q in "BSO") or (p != "O" and x != y)
        begins = q in "BS" or (p in "ESO" and q in "EI") or (q != "O" and x != y)
        if ends:
            found.append(TokenSpan(start - 1, place - 2, x))
        if begins and q != "O":
            start = place
    return found


@settings(max_examples=30)
@given(st.data())
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("conll") / "notes.tsv"
    sentences = data.draw(SENTENCES.filter(lambda found: any(label for one in found for _, label in one)))
    lines, text, spans = [], "", []
    for one in sentences:
        tokens = data.draw(st.lists(TOKENS, min_size=sum(n for n, _ in one), max_size=sum(n for n, _ in one)))
        lines += [*(f"{token}\t{tag}" for token, tag in zip(tokens, tagged("iob2", one), strict=True)), ""]
        ends = [len(text) + len(" ".join(tokens[: place + 1])) for place in range(len(tokens))]
        spans += [
            (ends[run.first] - len(tokens[run.first]), ends[run.last], run.label) for run in expected("iob2", one)
        ]
        text += " ".join(tokens) + "\n"
    path.write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    records = Conll(path, sentences=100, scheme="iob2").records()
    assert records.frame["text"].item() == text[:-1]
    found = [tuple(one.values()) for one in records.frame["spans"].item()]
    trimmed = [(text[s:e].strip(), label) for s, e, label in spans]
    assert [(text[s:e], label) for s, e, label in found] == trimmed, "a token may begin with a space that is no blank"


def test_documents_are_marked_or_made_of_sentences(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    sentence = "ill B-X\n. O\n\n"
    path.write_text(sentence * 5)
    assert Conll(path, sentences=2).records().frame["text"].to_list() == ["ill .\nill .", "ill .\nill .", "ill ."]
    assert Conll(path, sentences=None).records().frame["id"].to_list() == [f"a-{n}" for n in range(1, 6)]
    path.write_text("-DOCSTART- -X- O\n\n" + sentence * 3)
    assert Conll(path, sentences=2).records().frame.height == 2, "a mark of nothing but the beginning"
    path.write_text("-DOCSTART- -X- O\n\n" + sentence * 3 + "-DOCSTART- -X- O\n" + sentence)
    assert Conll(path, sentences=2).records().frame["text"].to_list() == ["ill .\nill .\nill .", "ill ."]
    path.write_text(f"# doc_id = 7\n{sentence}# doc_id = 9\n{sentence * 2}")
    frame = Conll(path, marker="# doc_id").records().frame
    assert frame.columns == [*COLUMNS, "spans"] and frame["id"].to_list() == ["7", "9"]


def test_a_document_of_two_files_is_in_the_later_split(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("# doc_id 1\nill B-X\n\n# doc_id 2\nsick B-X\n")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"# doc_id 2\nwell O\n\n# doc_id 3\nunwell B-X\n"))
    files = {"test": "b.txt.gz", "train": "a.txt"}
    corpus = Conll(tmp_path, files=files, marker="# doc_id")
    records = corpus.records()
    assert records.frame.select("id", "text").rows() == [("1", "ill"), ("2", "well"), ("3", "unwell")]
    assert records.splits == {"1": "train", "2": "test", "3": "test"}
    assert "1 of 4 documents dropped: their group is in a later split, too" in records.notices
    before = corpus.fingerprint()
    (tmp_path / "a.txt").write_text("ill B-X\n")
    assert corpus.fingerprint() != before


@pytest.mark.parametrize(
    ("lines", "settings", "found"),
    [
        ("New NNP I-NP B-LOC\nYork NNP I-NP I-LOC\n", {}, [("New York", "LOC")]),
        ("1 New B-LOC x\n2   York   I-LOC x\n", {"token": 1, "tag": 2}, [("New York", "LOC")]),
        ("New B\nYork I\nill B\n", {}, [("New York", tag_schemes.UNNAMED), ("ill", tag_schemes.UNNAMED)]),
        ("New LOC\nYork LOC\nis O\n", {}, [("New York", "LOC")]),
        ("new York\tI-LOC\n\tO\n\u00a0\tO\nLa Paz\tI-LOC\n", {}, [("new York", "LOC"), ("La Paz", "LOC")]),
        ("a I-X\nb I-X\n", {"scheme": "iob2"}, [("a b", "X")]),
        ("a I-X\nb I-Y\nc B-Y\n", {}, [("a", "X"), ("b", "Y"), ("c", "Y")]),
    ],
)
def test_columns_and_tags_of_many_kinds(tmp_path: Path, lines: str, settings: Any, found: Any) -> None:
    path = tmp_path / "a.txt"
    path.write_text(lines, encoding="utf-8")
    assert told(Conll(path, **settings).records()) == found


RUNS = [[(1, ""), (2, "Drug"), (1, ""), (2, "Symptom"), (1, "Drug"), (1, "")]]
SPELLINGS = {
    "B_X": lambda tag: tag.replace("-", "_"),
    "B:X": lambda tag: tag.replace("-", ":"),
    "en dash": lambda tag: tag.replace("-", "–"),
    "b-X": lambda tag: tag[0].lower() + tag[1:] if "-" in tag else tag,
    "b-X and o": lambda tag: tag[0].lower() + tag[1:],
    "X-B": lambda tag: "-".join(reversed(tag.split("-"))),
    "X_b": lambda tag: "_".join(reversed(tag.split("-"))).replace("_B", "_b").replace("_I", "_i"),
    "OTHER": lambda tag: "OTHER" if tag == "O" else tag,
    "0 and B_X": lambda tag: "0" if tag == "O" else tag.replace("-", "_"),
    "twice": lambda tag: tag if tag == "O" else f"{tag}|{tag}",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("scheme", ["iob2", "iobes", "bilou", "bmes"])
def test_every_certain_spelling_reads_the_same(tmp_path: Path, scheme: Scheme, spelling: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text("".join(f"w {SPELLINGS[spelling](tag)}\n" for tag in tagged(scheme, RUNS[0])), encoding="utf-8")
    records = Conll(path).records()
    assert told(records) == [("w w", "Drug"), ("w w", "Symptom"), ("w", "Drug")] and not records.notices


LINES = ["Took\tO", "folic\tB-Drug", "acid\tI-Drug", ".\tO"]


@pytest.mark.parametrize(
    ("text", "settings", "notices"),
    [
        ("\n".join(line.replace("\t", "  ") for line in LINES), {}, []),
        ("\n".join(line.replace("\t", ",") for line in LINES), {}, []),
        ("word;tag\n" + "\n".join(line.replace("\t", ";") for line in LINES), {}, ["1 headers"]),
        (
            "Sentence #,Word,POS,Tag\nSentence: 1," + "\n,".join(line.replace("\t", ",x,") for line in LINES),
            {},
            ["1 headers"],
        ),
        ("token\ttag\n" + "\n".join(LINES), {}, ["1 headers"]),
        ("\r".join(LINES), {}, []),
        ("\r\n".join(LINES), {}, []),
        ("# sent_id = 1\n# text = Took folic acid .\n" + "\n".join(LINES), {}, ["2 comments"]),
        ("\n".join(LINES).replace("\n", "\t0\t1\n") + "\t0\t1", {}, ["1 files have their tags in another"]),
        ("\n".join([*LINES[:3], "\u200b\tO", LINES[3]]), {}, ["1 lines left out"]),
        ("\n".join(f"{line}\t{line[-1].replace('g', 'I-Chem')}" for line in LINES), {"tag": 1}, []),
        ("\n".join(f"{line}\tO\t{line[-1].replace('g', 'O')}" for line in LINES), {"tag": [1, 2]}, []),
    ],
)
def test_separators_headers_comments_and_columns(tmp_path: Path, text: str, settings: Any, notices: list[str]) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode())
    records = Conll(path, **settings).records()
    assert records.frame["text"].item() == "Took folic acid ." and told(records) == [("folic acid", "Drug")]
    assert [found for notice in records.notices for found in notices if notice.startswith(found)] == notices
    assert len(records.notices) == len(notices)


def test_tags_of_several_columns_or_with_bars_are_nested_entities(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    nested = [("chest pain", "Symptom"), ("chest", "Site")]
    path.write_text("chest\tB-Symptom\tB-Site\npain\tI-Symptom\tO\n")
    assert sorted(told(Conll(path, tag=[1, 2]).records())) == sorted(nested)
    found = Conll(path).records()
    assert told(found) == nested[1:]
    assert found.notices == ("1 more columns hold tags, and are not read: set tag to several, such as [1,2]",)
    path.write_text("chest\tB-Symptom|B-Site\npain\tI-Symptom\n")
    assert sorted(told(Conll(path).records())) == sorted(nested)


def test_newdoc_begins_a_document_and_sentence_ids_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("# newdoc id = 77\nill\tB-X\n\n# newdoc id = 78\nsick\tB-X\n")
    assert Conll(path).records().frame.select("id", "text").rows() == [("77", "ill"), ("78", "sick")]
    path.write_text("sentence_id,words,labels\n1,ill,B-X\n1,and,O\n2,sick,I-X\n")
    assert Conll(path).records().frame["text"].to_list() == ["ill and\nsick"]


def test_broken_tags_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a B-X\nb O\nc I-X\nd I-Y\n")
    records = Conll(path).records()
    assert told(records) == [("a", "X"), ("c", "X"), ("d", "Y")]
    assert records.notices == ("2 tags break the scheme iob2, and are read as conlleval does",)


def test_bad_input_is_an_error_without_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for text, chosen, law in (
        ("secret\n", {}, "a.txt line 1 has 1 columns"),
        ("a O\nsecret B-X\n", {"tag": 2}, "a.txt line 1 has 2 columns"),
        ("\tB-X\n", {}, "that of a.txt line 1 is not"),
        ("secret some\nother thing\n", {}, "all be labels alone"),
        ("secret O\na some\nb B-X", {}, "got both: one without prefix in a.txt line 2; set tag"),
        ("secret O\na B-X\nb I_X", {}, "got both: 'I_…' in a.txt line 3; set tag"),
        ("secret O\na B-X\nb OTHER", {}, "got both: 'OTHER' in a.txt line 3; set tag"),
        ("secret O\na B_X\nb I_X\nc some", {}, "got both: one without prefix in a.txt line 4; set tag"),
        ("secret O\na B_X\nb B_Y", {}, "got 'B_…' in a.txt line 2, which may have a prefix or be a label; set scheme"),
        ("secret O\na X-B\n", {}, "got '…-B' in a.txt line 2, which may have a prefix or be a label; set scheme"),
        ("secret O\na B-X\nb I-\n", {}, "got 'I-' without one in a.txt line 3"),
        ("a none\nb other\nc B-X", {}, "got 'none' in a.txt line 1 and 'other' in a.txt line 2; write O"),
        ("a O\nb B-X|I-X", {}, "one tag per label, got two in a.txt line 2"),
        ("a O\n\u200b B-X", {}, "that of a.txt line 2 is not"),
        ("secret B-X\na E-X\nb U-X", {}, "got BEU"),
        ("secret B-X\n", {"scheme": "io"}, "begin with I or be O"),
        ("".join(f"a secret{n}\nb O\n" for n in range(101)), {}, "at most 100 labels"),
        ("secret O\n", {}, "no span at all"),
        ("# id 1\na B-X\n# id 1\nb B-X", {"marker": "# id"}, "an id must name one document, 1 name several"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=law) as caught:
            Conll(path, **chosen).records()  # type: ignore[arg-type]
        assert "secret" not in str(caught.value)
    for root, files, law in (
        (tmp_path, None, "got the folder .*; set files"),
        (tmp_path / "b.txt", None, "does not exist"),
        (tmp_path, {"train": "b.txt"}, "the split train is b.txt"),
        (tmp_path, {"dev": "a.txt"}, "of train, validation, test, got dev"),
        (tmp_path, {"train": "a.txt", "test": "a.txt"}, "a.txt names one twice|names one twice"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=law):
            Conll(root, files=files).records()
    for chosen in ({"sentences": 0}, {"scheme": "bio"}, {"token": 1, "tag": 1}, {"marker": " "}):
        with pytest.raises(ValueError, match="must"):
            Conll(path, **chosen)  # type: ignore[arg-type]


def test_bc5cdr_has_the_entities_that_its_b_tags_say() -> None:
    if not DATA.is_dir():
        pytest.skip(f"BC5CDR is not at {DATA}")
    chosen: Any = OmegaConf.to_container(OmegaConf.load(CONF / "corpus" / "bc5cdr.yaml"))
    names = {"Chemical": "MEDICATION", "Disease": "DISEASE"}
    records = Conll(DATA, **{name: value for name, value in chosen.items() if not name.startswith("_")}).records()
    assert records.splits is not None
    for split, name in chosen["files"].items():
        rows = [line.partition("\t")[::2] for line in (DATA / name).read_text(encoding="utf-8").split("\n")]
        wanted: Counter[tuple[str, str]] = Counter()
        for place, (token, tag) in enumerate(rows):
            if tag.startswith("B-"):
                rest = takewhile(lambda row: row[1].startswith("I-"), rows[place + 1 : place + 99])
                wanted[" ".join([token, *(more for more, _ in rest)]), names[tag[2:]]] += 1
        own = records.frame.filter([records.splits[group] == split for group in records.frame["group"]])
        assert Counter(told(Records(own))) == wanted and wanted.total() > 9000
