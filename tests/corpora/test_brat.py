"""Laws of the brat reader, on made-up pairs and on MACCROBAT where it is."""

import html
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from support.marking import Marker

from clinlm.config.errors import ConfigError
from clinlm.config.validation import CONF
from clinlm.corpora.base import COLUMNS, Records
from clinlm.corpora.brat import Brat
from clinlm.corpora.standoff import Annotated, Annotation, locate
from clinlm.labelers.human import Human
from clinlm.tasks.base import NOT_RELEASED
from clinlm.tasks.entities import Entities
from clinlm.text.long_notes import Head

DATA = Path(__file__).parents[3] / "shared" / "data" / "maccrobat2020"
TEXTS = st.text(st.sampled_from("ab é\u0301ßµ😀中\u00a0\u2028\x0c\x85-'\n\r"), min_size=1, max_size=30)


def write(root: Path, name: str, text: str, *lines: str) -> None:
    path = root / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    path.with_suffix(".ann").write_bytes("".join(f"{line}\n" for line in lines).encode())


def entity(number: int, label: str, fragments: Sequence[tuple[int, int]], text: str) -> str:
    """The line of an entity, as brat writes it."""
    words = " ".join(text[start:end] for start, end in fragments)
    for end in "\n\r\x85\u2028\x0c":
        words = words.replace(end, " ")
    return f"T{number}\t{label} {';'.join(f'{start} {end}' for start, end in fragments)}\t{words}"


def told(records: Records, id: str | None = None) -> list[tuple[str, str]]:
    """The words and labels of a document's spans, or of all."""
    frame = records.frame if id is None else records.frame.filter(id=id)
    rows = zip(frame["text"], frame["spans"].to_list(), strict=True)
    return [(text[one["start"] : one["end"]], one["label"]) for text, spans in rows for one in spans]


@settings(max_examples=40)
@given(st.data())
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Any text, any spans, nested and repeated ones too."""
    root = tmp_path_factory.mktemp("brat")
    text = data.draw(TEXTS.filter(lambda text: text.strip()))
    edges = st.tuples(st.integers(0, len(text)), st.integers(0, len(text)), st.sampled_from("XY"))
    spans = [(*sorted(pair), label) for *pair, label in data.draw(st.lists(edges, min_size=1, max_size=6))]
    solid = {(s, e, label) for s, e, label in spans if text[s:e] and not (text[s].isspace() or text[e - 1].isspace())}
    write(root, "n", text, *(entity(n, label, [(s, e)], text) for n, (s, e, label) in enumerate(sorted(solid), 1)))
    if not solid:
        with pytest.raises(ValueError, match="no span at all"):
            Brat(root).records()
        return
    records = Brat(root).records()
    assert records.frame["text"].item() == text
    assert [tuple(one.values()) for one in records.frame["spans"].item()] == sorted(solid)
    assert not any("dropped" in notice for notice in records.notices)


def test_records_have_the_shape_of_a_corpus(tmp_path: Path) -> None:
    write(
        tmp_path, "b", "fever, cough", "T1\tS 7 12\tcough", "T2\tS 0 5\tfever", "E1\tS:T1", "#1\tAnnotatorNotes T1\tx"
    )
    write(tmp_path, "ward/a", "well")
    records = Brat(tmp_path).records()
    assert records.frame.columns == [*COLUMNS, "spans"]
    assert records.frame.drop("attributes").rows() == [
        (
            "b",
            "b",
            "fever, cough",
            ["S"],
            [{"start": 0, "end": 5, "label": "S"}, {"start": 7, "end": 12, "label": "S"}],
        ),
        ("ward/a", "ward/a", "well", [], []),
    ]
    assert records.notices == (
        "2 lines not read: events, relations, attributes and notes",
        "1 of 2 documents have no span",
    )
    assert Brat(tmp_path, group="folder").records().frame["group"].to_list() == [".", "ward"]


@pytest.mark.parametrize(
    ("rule", "found"),
    [("hull", ["pain in ankle, legs"]), ("first", ["pain"]), ("longest", ["ankle"]), ("drop", [])],
)
def test_discontinuous_entities_become_what_the_rule_says(tmp_path: Path, rule: str, found: list[str]) -> None:
    write(
        tmp_path,
        "a",
        "pain in ankle, legs\nhurt",
        "T1\tS 0 4;8 13;15 19\tpain ankle legs",
        "T2\tS 15 19;20 24\tlegs hurt",
    )
    records = Brat(tmp_path, discontinuous=rule).records()  # type: ignore[arg-type]
    assert [words for words, _ in told(records)] == [*found, "legs\nhurt"], "only a line end parts the second"
    assert records.notices[0] == f"1 discontinuous entities, read as: {rule}"


def test_labels_are_mapped_and_others_counted(tmp_path: Path) -> None:
    write(tmp_path, "a", "a b c", "T1\tX 0 1\ta", "T2\tY 2 3\tb", "T3\tZ 4 5\tc", "T4\tZ 4 5\tc", "T5\tX 0 3\ta b")
    records = Brat(tmp_path, {"X": "DISEASE", "Y": "DISEASE", "W": "DRUG"}).records()
    assert told(records) == [("a", "DISEASE"), ("a b", "DISEASE"), ("b", "DISEASE")]
    assert records.notices == (
        "2 of 5 spans dropped: labels not in map (Z)",
        "1 labels of map have no span: W",
        "3 of 3 spans are nested in or overlap another",
    )
    with pytest.raises(ValueError, match="the files have the labels X, Y, Z; set map"):
        Brat(tmp_path, {"x": "DISEASE"}).records()


def test_words_that_do_not_stand_at_their_offsets_are_dropped_and_named(tmp_path: Path) -> None:
    write(tmp_path, "a", "a secret", "T1\tX 0 1\ta", "T2\tX 0 1\tsecret", "T3\tX 2 90\tsecret", "T4\tX 2 8")
    records = Brat(tmp_path).records()
    assert told(records) == [("a", "X"), ("secret", "X")]
    assert records.notices == (
        "1 of 4 entities have no words to check their offsets by",
        "2 of 4 entities dropped: not the words at their offsets (first: a T2, a T3): 2 with words elsewhere in the "
        "text",
    )


@pytest.mark.parametrize(
    ("raw", "count", "way"),
    [
        ("x\r\ny fever", str, ""),
        ("x\r\ny fever", lambda text: text.replace("\r\n", "\n"), "line ends of one character"),
        ("\ufeffx fever", lambda text: text[1:], ""),
        ("\ufeffx fever", str, "a text with the byte order mark"),
        ("😀 fever", lambda text: text.replace("😀", "##"), "units of UTF-16"),
        ("😀😀\r\nfever", lambda text: text.replace("😀😀\r", "####"), "units of UTF-16, line ends of one character"),
        ("é fever", lambda text: text.replace("é", "##"), "bytes of UTF-8"),
        ("\ufeffé fever", lambda text: text.replace("é", "##").replace("\ufeff", "###"), "bytes of UTF-8, a text with"),
        ("x\ny fever", lambda text: text.replace("\n", "\r\n"), "line ends of two characters"),
        ("<1 & fever", html.escape, "HTML, escaped"),
        ("&lt;1 fever", html.unescape, "HTML escapes of one character"),
        (" fever ", str.strip, "a text without white space at its edges"),
    ],
)
def test_offsets_are_read_as_the_file_counts_them(raw: str, count: object, way: str) -> None:
    counted = count(raw)  # type: ignore[operator]
    start = counted.index("fever")
    text = raw.removeprefix("\ufeff")
    told = [Annotation("T1", "S", ((start, start + 5),), "fever")]
    [placed] = locate([Annotated("a", text, told, marked=text != raw)])
    assert placed.unit == way or way.endswith("with") and placed.unit.startswith(way)
    ((found,),) = [one for one in placed.fragments if one]
    assert placed.text[slice(*found)] == "fever"


@settings(max_examples=40)
@given(st.data())
def test_a_unit_is_found_whatever_the_text(data: st.DataObject) -> None:
    """All words of a text, counted in any unit and with any line ends, are placed."""
    text = data.draw(TEXTS) + " fever\nand chills 😀é cough"
    encoding = data.draw(st.sampled_from(["utf-32-le", "utf-16-le", "utf-8"]))
    unit = {"utf-32-le": 4, "utf-16-le": 2, "utf-8": 1}[encoding]
    ends = data.draw(st.sampled_from(["as they are", "one", "two"]))

    def count(before: str) -> int:
        plain = before.replace("\r\n", "\n") if ends != "as they are" else before
        return len((plain.replace("\n", "\r\n") if ends == "two" else plain).encode(encoding)) // unit

    wanted = [(text.index(words), text.index(words) + len(words), words) for words in ("fever", "chills", "cough")]
    told = [Annotation("T", "S", ((count(text[:start]), count(text[:end])),), words) for start, end, words in wanted]
    [placed] = locate([Annotated("a", text, told)])
    found = [place[0] for place in placed.fragments if place]
    assert [text[start:end] for start, end in found] == ["fever", "chills", "cough"]


@pytest.mark.parametrize(
    ("text", "words", "respelled"),
    [
        ("nai\u0308ve", "na\u00efve", 1),
        ("Crohn’s disease", "crohn's disease", 1),
        ("pH <7", "pH &lt;7", 1),
        ("aspirin a day", "aspi...", 1),
        ("on\u00a0aspirin", "on aspirin", 0),
        ("aspirin", "aspitin", None),
        ("aspirin", "a...", None),
    ],
)
def test_words_may_be_spelt_differently(text: str, words: str, respelled: int | None) -> None:
    [placed] = locate([Annotated("a", text, [Annotation("T1", "S", ((0, len(text)),), words)])])
    assert placed.fragments == [None if respelled is None else ((0, len(text)),)]
    assert placed.respelled == (respelled or 0) and placed.unit == ""


def test_a_shift_is_certain_only_if_all_words_share_it() -> None:
    told = [Annotation("T1", "S", ((0, 5),), "fever"), Annotation("T2", "S", ((6, 11),), "cough")]
    [placed] = locate([Annotated("a", "My fever cough", told)])
    assert placed.fragments == [((3, 8),), ((9, 14),)] and placed.unit == "characters, 3 too low"
    [placed] = locate([Annotated("a", "My fever cough", told[:1])])
    assert placed.fragments == [None] and placed.misses == ["with words elsewhere in the text"]
    [placed] = locate([Annotated("a", "My fever cough fever cough", told)])
    assert placed.fragments == [None, None], "two shifts fit"


def test_a_unit_of_offsets_without_words_puts_all_of_them_on_edges_of_words() -> None:
    def silent(text: str, *offsets: tuple[int, int]) -> Annotated:
        return Annotated("a", text, [Annotation("T", "S", (fragment,), None) for fragment in offsets])

    texts = [silent("😀 took aspirin daily", (8, 15)), silent("plain aspirin", (6, 13))]
    assert [placed.fragments for placed in locate(texts)] == [[((7, 14),)], [((6, 13),)]]
    texts.append(silent("😀 took aspirin daily", (7, 14)))
    placed = locate(texts)
    assert [own.fragments for own in placed] == [[((8, 15),)], [((6, 13),)], [((7, 14),)]], "they contradict each other"
    assert [own.inside for own in placed] == [1, 0, 0]


def test_lines_of_other_tools_are_read(tmp_path: Path) -> None:
    write(
        tmp_path,
        "a",
        "on aspi\nrin today",
        "T1\tDrug Name 3 11\taspi\nrin",
        "T2 When 12 17 today",
        "T2\tA 0 2\t",
        "T3\tA 0 0\t",
    )
    records = Brat(tmp_path).records()
    assert told(records) == [("on", "A"), ("aspi\nrin", "Drug Name"), ("today", "When")]
    assert records.notices == (
        "1 entities have the name of another of their document",
        "2 of 4 entities have no words to check their offsets by",
        "1 of 4 entities dropped: not the words at their offsets (first: a T3): 1 of no character",
    )


def test_endings_may_be_in_capitals(tmp_path: Path) -> None:
    write(tmp_path, "a", "ill", "T1\tX 0 3\till")
    (tmp_path / "B.TXT").write_text("sick")
    (tmp_path / "B.Ann").write_text("T1\tX 0 4\tsick\n")
    before = Brat(tmp_path).fingerprint()
    assert told(Brat(tmp_path).records()) == [("sick", "X"), ("ill", "X")]
    (tmp_path / "B.Ann").write_text("")
    assert Brat(tmp_path).fingerprint() != before
    (tmp_path / "a.TXT").write_text("sick")
    with pytest.raises(ValueError, match=r"got a\.(TXT and a\.txt|txt and a\.TXT)"):
        Brat(tmp_path).records()


def test_splits_are_folders_and_a_text_is_in_one_of_them(tmp_path: Path) -> None:
    write(tmp_path, "train/1", "A fever", "T1\tS 2 7\tfever")
    write(tmp_path, "train/2", "b", "T1\tS 0 1\tb")
    write(tmp_path, "test/1", "a  fever", "T1\tS 3 8\tfever")
    records = Brat(tmp_path, files={"train": "train", "test": "test"}).records()
    assert records.frame["id"].to_list() == ["train/2", "test/1"]
    assert records.splits is not None
    assert [records.splits[group] for group in records.frame["group"]] == ["train", "test"]
    assert "1 of 3 documents dropped: their group is in a later split, too" in records.notices
    together = Brat(tmp_path).records()
    assert together.splits is None and together.frame["group"].n_unique() == 2


def test_bad_input_is_an_error_without_text(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        Brat(tmp_path / "nowhere").records()
    with pytest.raises(FileNotFoundError, match="lacks any"):
        Brat(tmp_path).records()
    write(tmp_path, "a", "secret", "T1\tX 0 6\tsecret")
    (tmp_path / "README.txt").write_text("secret")
    with pytest.raises(FileNotFoundError, match=r"lacks README.ann \(1 in all\)"):
        Brat(tmp_path).records()
    (tmp_path / "._a.txt").write_text("what a Macintosh leaves behind")
    before = Brat(tmp_path, ignore=["README*"]).fingerprint()
    for line, law in (
        ("T1\tX 0 secret\tsecret", "in a.ann line 1"),
        ("secret", "in a.ann line 1"),
        ("T1\tX 0 1;\ts", "in a.ann line 1"),
        ("T1\tX 0 1\tsecret", r"1 of 1 have not \(first: a T1\): 1 with words elsewhere in the text"),
    ):
        (tmp_path / "a.ann").write_text(line)
        with pytest.raises(ValueError, match=law) as caught:
            Brat(tmp_path, ignore=["README*"]).records()
        assert "secret" not in str(caught.value)
    assert Brat(tmp_path, ignore=["README*"]).fingerprint() != before
    (tmp_path / "a.txt").write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"byte 0xff in a.txt line 1"):
        Brat(tmp_path, ignore=["README*"]).records()


def test_settings_out_of_range_are_errors(tmp_path: Path) -> None:
    for chosen in ({"discontinuous": "last"}, {"group": "patient"}, {"ignore": "README.txt"}):
        with pytest.raises(ValueError, match=f"{next(iter(chosen))} must be"):
            Brat(tmp_path, **chosen)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "free"), [("n2c2_2018", False), ("brat", True)])
def test_notes_of_n2c2_stay_here(tmp_path: Path, name: str, free: bool) -> None:
    corpus = instantiate(OmegaConf.load(CONF / "corpus" / f"{name}.yaml"))
    for number in range(12):
        folder = "test" if number % 3 == 0 else "training_20180910"
        write(
            tmp_path / "notes", f"{folder}/{number}", f"{number} iron pill", f"T1\tDrug 0 {len(str(number))}\t{number}"
        )
    assert corpus(tmp_path / "notes").remote_allowed is free
    notices = Entities(corpus, str(tmp_path / "notes"), Head(), Human()).open(tmp_path / "store", "a").examples.notices
    assert (NOT_RELEASED in notices) is not free
    away = Marker(["iron"], label_as="Drug", asked=str(tmp_path / "asked"), address="http://far")
    with pytest.raises(ConfigError, match="stay on this machine" if free else "forbids passing them to third parties"):
        Entities(corpus, str(tmp_path / "notes"), Head(), away).open(tmp_path / "store", "b")
    assert not away.questions()


def test_maccrobat_is_read_whole() -> None:
    if not DATA.is_dir():
        pytest.skip(f"MACCROBAT is not at {DATA}")
    lines = [line.split("\t") for path in DATA.glob("*.ann") for line in path.read_text(encoding="utf-8").split("\n")]
    wanted = Counter(line[1].split(" ")[0] for line in lines if line[0].startswith("T"))
    chosen = OmegaConf.to_container(OmegaConf.load(CONF / "corpus" / "maccrobat.yaml"))
    assert isinstance(chosen, dict)
    records = Brat(DATA, chosen["map"], ignore=chosen["ignore"]).records()
    found = Counter(label for _, label in told(records))
    assert found == {ours: wanted[theirs] for theirs, ours in chosen["map"].items()}
    assert records.frame.height == 200 and not any("their offsets" in notice for notice in records.notices)


def test_an_entity_that_ends_before_it_begins_is_no_place_in_the_text(tmp_path: Path) -> None:
    write(tmp_path, "a", "fever, cough", "T1\tS 112 5\tcough", "T2\tS 0 5\tfever")
    assert told(Brat(tmp_path).records()) == [("fever", "S")]
