"""Laws of vocabularies: what is a term of each format, and what is none."""

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from clinlm.terminology.base import Term, TermSource
from clinlm.terminology.dictionary import Dictionary
from clinlm.terminology.obo import Obo, OboLexicon
from clinlm.terminology.rf2 import SYNONYM, Rf2
from clinlm.terminology.rxnconso import Rxnconso

ONTOLOGIES = Path(__file__).parents[3] / "shared" / "data" / "ontology"

OBO = r"""format-version: 1.2
name: not a term

[Term]
id: X:0
name: sign

[Term]
id: X:1
name: Sore throat ! in the throat
synonym: "throat \"ache\"" EXACT []
synonym: "scratchy throat" RELATED []
is_a: X:0 ! sign

[Term]
id: X:2
name: vapours
is_a: X:0 ! sign
is_obsolete: true

[Typedef]
id: part_of
name: part of
is_a: X:9
"""
TABLE = 'id;name;others\n1;Aspirin;ASA | Acetyl\n2;"Iron; ferrous";\n3; ;iron | \n4;Aspirin;\n'
KEYS = "RXCUI LAT TS LUI STT SUI ISPREF RXAUI SAUI SCUI SDUI SAB TTY CODE STR SRL SUPPRESS CVF".split()
HEADER = "id effectiveTime active moduleId conceptId languageCode typeId term caseSignificanceId".split()
FSN = "900000000000003001"


def rxnconso(**cells: str) -> str:
    row = {"LAT": "ENG", "SAB": "RXNORM", "TTY": "IN", "SUPPRESS": "N"} | cells
    return "".join(f"{row.get(key, '')}|" for key in KEYS) + "\n"


RXNCONSO = "".join(
    [
        *(rxnconso(STR="Aspirin"), rxnconso(STR="Ecotrin", TTY="BN"), rxnconso(STR="aspirin 81 MG", TTY="SCD")),
        *(rxnconso(STR="Old", SUPPRESS="O"), rxnconso(STR="aspirina", LAT="SPA"), rxnconso(STR='a "b', SAB="VANDF")),
    ]
)


def rf2(*rows: str) -> str:
    """A row is: id time active concept language type term."""
    lines = [HEADER]
    for row in rows:
        number, time, active, concept, language, kind, term = row.split(" ", 6)
        lines.append([number, time, active, "m", concept, language, kind, term, "c"])
    return "".join("\t".join(line) + "\r\n" for line in lines)


DESCRIPTIONS = rf2(
    f"10 2020 1 1 en {FSN} Heart attack (event) (disorder)",
    f'11 2020 1 1 en {SYNONYM} MI "so called"',
    f"12 2020 1 1 en {SYNONYM} Coronary",
    f"12 2021 0 1 en {SYNONYM} Coronary",
    f"13 2021 1 1 es {SYNONYM} Infarto",
    f"20 2020 1 2 en {FSN} Pain (finding)",
    f"21 2020 1 2 en {SYNONYM} Ache",
    f"30 2020 1 3 en {FSN} Knee (body structure)",
    f"31 2020 1 3 en {SYNONYM} Knee",
    f"40 2020 1 4 en {FSN} Vapours (disorder)",
    f"50 2020 1 5 en {SYNONYM} Nameless",
)
CONCEPTS = (
    "id\teffectiveTime\tactive\tmoduleId\tdefinitionStatusId\n4\t2019\t1\tm\td\n4\t2020\t0\tm\td\n1\t2020\t1\tm\td\n"
)
TAGS = {"disorder": "DISEASE", "finding": "SYMPTOM"}

MAKERS: dict[str, tuple[str, Callable[[str], TermSource]]] = {
    "obo": (OBO, lambda file: Obo(file, "A")),
    "dictionary": (TABLE, lambda file: Dictionary(file, "A", ["name", "others"], ";", " | ")),
    "rxnconso": (RXNCONSO, lambda file: Rxnconso(file, "A")),
    "rf2": (DESCRIPTIONS, lambda file: Rf2(file, TAGS)),
}


def texts(vocabulary: TermSource, root: Path) -> list[str]:
    return [term.text for term in vocabulary.terms(root)]


def written(root: Path, name: str, text: str) -> str:
    (root / name).write_bytes(text.encode())
    return name


@pytest.mark.parametrize("name", MAKERS)
def test_every_vocabulary_keeps_its_promise(name: str, tmp_path: Path) -> None:
    text, make = MAKERS[name]
    vocabulary = make(written(tmp_path, "file", text))
    terms = vocabulary.terms(tmp_path)
    assert terms and len(set(terms)) == len(terms)
    assert all(term.text == term.text.strip() != "" and term.label for term in terms)
    (tmp_path / "file.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + text.encode()))
    assert make("file.gz").terms(tmp_path) == terms
    assert make(str(tmp_path / "file")).terms(Path("elsewhere")) == terms, "a whole path needs no root"
    (tmp_path / "file").write_bytes(text.encode().replace(b"s", b"\xff"))
    with pytest.raises(ValueError, match="UTF-8"):
        vocabulary.terms(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"set labeler\.root"):
        make("none").terms(tmp_path)


@pytest.mark.parametrize("name", MAKERS)
def test_a_fingerprint_follows_bytes_and_settings(name: str, tmp_path: Path) -> None:
    text, make = MAKERS[name]
    written(tmp_path, "one", text)
    written(tmp_path, "two", text)
    written(tmp_path, "three", text + "\n")
    one, two, three = (make(file).fingerprint(tmp_path) for file in ("one", "two", "three"))
    assert re.fullmatch("[0-9a-f]{64}", one) and one == two != three
    changed = make("one")
    changed.label = "B"  # type: ignore[attr-defined]
    assert changed.fingerprint(tmp_path) != one


def test_obo(tmp_path: Path) -> None:
    written(tmp_path, "x.obo", OBO)
    assert texts(Obo("x.obo", "A"), tmp_path) == ["Sore throat", 'throat "ache"']
    assert texts(Obo("x.obo", "A", ["RELATED"]), tmp_path) == ["Sore throat", "scratchy throat"]
    assert texts(Obo("x.obo", "A", []), tmp_path) == ["Sore throat"]
    for scopes in ("EXACT", ["CLOSE"]):
        with pytest.raises(ValueError, match="EXACT, BROAD, NARROW, RELATED"):
            Obo("x.obo", "A", scopes)


TERM = "[Term]\nid: X:1\nname: fever\n"
ROOT = "[Term] \nid: X:0\nname: sign\n"


@pytest.mark.parametrize(
    ("stanzas", "found", "notice"),
    [
        (f'{TERM}synonym: "hot" EXACT []\n\n[Term]\nid: X:2\nname: cough\n', ["fever", "hot", "cough"], ""),
        (
            f"{TERM}intersection_of: X:0\nintersection_of: in Y:1\n\n[Term]\nid: X:0\nname: sign\n",
            ["fever"],
            "1 of 2 .*roots",
        ),
        (f"{TERM}relationship: part_of X:0\n\n[Term]\nid: X:0\nname: sign\n", ["fever"], "1 of 2 .*roots"),
        (f'{TERM}is_a: X:0 {{by="x"}} ! sign\n\n[Term] \nid: X:0\nname: sign\n', ["fever"], "1 of 2 .*roots"),
        (f'{TERM}exact_synonym: "hot" []\nrelated_synonym: "warm" []\n', ["fever", "hot"], ""),
        (
            f'{TERM}synonym: "hot" []\nsynonym: "warm"\n',
            ["fever"],
            "2 synonyms of x.obo have no scope",
        ),
        (f"{TERM}synonym: hot EXACT []\n", ["fever"], "1 synonyms of x.obo left out: no text in quotes"),
        (
            '[Term]\nid:X:1\nname:\tfever\nsynonym:"a\\nb\\, \\"c\\""  EXACT lay [] {by="x"} ! d\n',
            ["fever", 'a b, "c"'],
            "",
        ),
        (f"{TERM}is_obsolete: 1\n\n{TERM}is_obsolete:True\n\n[Term]\nname: cough\n", ["cough"], "2 of 3 .*: obsolete"),
        (f"{TERM}\n[Term]\nid: X:2\n", ["fever"], "1 of 2 terms of x.obo left out: without name"),
        (f"{TERM}\n[Term]\nid: X:1\nname: febrile\n", ["fever", "febrile"], "1 terms of x.obo have the id of another"),
    ],
)
def test_dialects_of_obo_are_read_and_nothing_is_dropped_uncounted(
    tmp_path: Path, stanzas: str, found: list[str], notice: str
) -> None:
    written(tmp_path, "x.obo", f"format-version: 1.2\n\n{stanzas}")
    source, lexicon = Obo("x.obo", "A"), OboLexicon(tmp_path / "x.obo")
    assert texts(source, tmp_path) == found
    assert {spelling for own in lexicon.terms().values() for spelling in own} >= set(found)
    assert list(source.notices(tmp_path)) == list(lexicon.notices())
    assert len(lexicon.notices()) == bool(notice) and all(re.match(notice, told) for told in lexicon.notices())


def test_other_formats_are_named(tmp_path: Path) -> None:
    for text in ('<?xml version="1.0"?>', '{"graphs": []}', "Prefix(:=<x>)"):
        with pytest.raises(ValueError, match="must be in OBO format, got x in XML, JSON or OWL; convert it"):
            Obo(written(tmp_path, "x", text), "A").terms(tmp_path)


def test_dictionary(tmp_path: Path) -> None:
    written(tmp_path, "x.csv", TABLE)
    assert texts(Dictionary("x.csv", "A", ["name"], ";"), tmp_path) == ["Aspirin", "Iron; ferrous"]
    both = Dictionary("x.csv", "A", ["name", "others"], ";", "|")
    assert texts(both, tmp_path) == ["Aspirin", "ASA", "Acetyl", "Iron; ferrous", "iron"]
    with pytest.raises(ValueError, match="must have the column 'label'"):
        Dictionary("x.csv", "A", ["label"], ";").terms(tmp_path)
    with pytest.raises(ValueError, match=r"set \[name\]"):
        Dictionary("x.csv", "A", "name")
    with pytest.raises(ValueError, match="must not be empty"):
        Dictionary("x.csv", "A", ["name"], delimiter="")


def test_rxnconso(tmp_path: Path) -> None:
    written(tmp_path, "x", RXNCONSO)
    assert texts(Rxnconso("x", "A"), tmp_path) == ["Aspirin", "Ecotrin", "aspirin 81 MG", 'a "b']
    assert texts(Rxnconso("x", "A", sab=["RXNORM"], tty=["IN", "BN"]), tmp_path) == ["Aspirin", "Ecotrin"]
    assert texts(Rxnconso("x", "A", suppress=["O"]), tmp_path) == ["Old"]
    assert len(texts(Rxnconso("x", "A", suppress=None, lat=None), tmp_path)) == 6
    with pytest.raises(ValueError, match=r"set \[IN\]"):
        Rxnconso("x", "A", tty="IN")
    with pytest.raises(ValueError, match="got none from x"):
        Rxnconso("x", "A", sab=["NONE"]).terms(tmp_path)
    written(tmp_path, "cut", RXNCONSO[:-9])
    with pytest.raises(ValueError, match="got 15 in cut line 6"):
        Rxnconso("cut", "A").terms(tmp_path)


def test_rf2(tmp_path: Path) -> None:
    written(tmp_path, "x", DESCRIPTIONS)
    written(tmp_path, "c", CONCEPTS)
    disorders = ["Heart attack (event)", 'MI "so called"', "Vapours"]
    found = Rf2("x", TAGS).terms(tmp_path)
    assert found == [Term(text, "DISEASE") for text in disorders] + [Term("Pain", "SYMPTOM"), Term("Ache", "SYMPTOM")]
    assert Rf2("x", dict(reversed(TAGS.items()))).terms(tmp_path)[0].label == "SYMPTOM"
    assert texts(Rf2("x", {"disorder": "A"}, concepts="c"), tmp_path) == disorders[:2]
    assert texts(Rf2("x", {"disorder": "A"}, kinds=[SYNONYM]), tmp_path) == disorders[1:2]
    assert "Infarto" in texts(Rf2("x", TAGS, languages=["en", "es"]), tmp_path)
    assert Rf2("x", TAGS).fingerprint(tmp_path) != Rf2("x", TAGS, concepts="c").fingerprint(tmp_path)
    with pytest.raises(ValueError, match="tags must select concepts"):
        Rf2("x", {})
    with pytest.raises(ValueError, match=r"set \[en\]"):
        Rf2("x", TAGS, languages="en")
    written(tmp_path, "headless", DESCRIPTIONS.partition("\n")[2])
    with pytest.raises(ValueError, match="header"):
        Rf2("headless", TAGS).terms(tmp_path)


@pytest.mark.parametrize(
    ("vocabulary", "least", "there", "absent"),
    [
        (Obo("symp.obo", "A"), 1000, "cough", "symptom"),
        (Dictionary("HumanDO.tsv", "A", ["label"], "\t"), 10_000, "asthma", "label"),
        (Dictionary("drugbank_vocabulary.csv", "A", ["Synonyms"], ";", " | "), 20_000, "Cetuximab", "Synonyms"),
    ],
    ids=lambda value: value.file.stem if isinstance(value, TermSource) else "",
)
def test_real_files(vocabulary: TermSource, least: int, there: str, absent: str) -> None:
    if not ONTOLOGIES.is_dir():
        pytest.skip(f"no ontologies at {ONTOLOGIES}")
    found = set(texts(vocabulary, ONTOLOGIES))
    assert len(found) >= least and there in found and absent not in found
