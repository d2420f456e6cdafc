"""Laws of lexicons, and of finding their words."""

import re
from pathlib import Path

import pytest
from hydra.utils import instantiate
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from clinlm.config.extras import imported
from clinlm.config.validation import CONF
from clinlm.terminology.lexicon import MASK, Lexicon, normalize_term
from clinlm.terminology.listed import Listed
from clinlm.terminology.mentions import Finder, mask_mentions
from clinlm.terminology.obo import OboLexicon

ONTOLOGY = Path(__file__).parents[3] / "shared" / "data" / "ontology" / "symp.obo"
OBO = """format-version: 1.2

[Term]
id: X:0
name: sign
synonym: "mark" EXACT []

[Term]
id: X:1
name: sore throat
synonym: "throat \\"ache\\"" EXACT []
synonym: "scratchy throat" RELATED []
is_a: X:0 ! sign

[Term]
id: X:2
name: Fever
synonym: "pyrexia" EXACT [X:9]
synonym: "sore throat" EXACT []
is_a: X:0 ! sign

[Term]
id: X:3
name: ague
synonym: "pyrexia" EXACT []
is_a: X:0 ! sign

[Term]
id: X:4
name: vapours
is_a: X:0 ! sign
is_obsolete: true
"""
WORDS = ["pain", "chest", "chest pain", "sore throat", "throat", "fever", "n/v", "x"]


@pytest.fixture
def obo(tmp_path: Path) -> Path:
    path = tmp_path / "signs.obo"
    path.write_text(OBO, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", sorted(CONF.glob("lexicon/*.yaml")), ids=lambda path: path.stem)
def test_every_lexicon_keeps_its_promise(path: Path, obo: Path) -> None:
    settings = OmegaConf.load(path)
    for key in OmegaConf.missing_keys(settings):
        OmegaConf.update(settings, key, str(obo))
    lexicon: Lexicon = instantiate(settings)
    ways = [way for some in lexicon.terms().values() for way in some]
    assert all(lexicon.terms().values())
    assert len(set(map(normalize_term, ways))) == len(ways)
    assert re.fullmatch("[0-9a-f]{64}", lexicon.fingerprint())
    assert lexicon.fingerprint() == instantiate(settings).fingerprint()


def test_the_listed_symptoms_are_about_forty() -> None:
    terms = instantiate(OmegaConf.load(CONF / "lexicon" / "symptoms.yaml")).terms()
    assert {"edema", "pain", "cough", "fever", "bleeding"} <= set(terms)
    assert 35 <= len(terms) <= 60


def test_an_ontology_gives_names_and_synonyms(obo: Path) -> None:
    terms = {name: set(ways) for name, ways in OboLexicon(obo).terms().items()}
    assert terms == {
        "sore throat": {"sore throat", "sore throats", 'throat "ache"', 'throat "ache"s'},
        "Fever": {"fever", "fevers", "pyrexia", "pyrexias"},
        "ague": {"ague", "agues"},
    }
    assert "scratchy throat" in OboLexicon(obo, ["RELATED"]).terms()["sore throat"]
    assert "pyrexia" not in OboLexicon(obo, []).terms()["Fever"]


def test_the_fingerprint_follows_the_file(obo: Path) -> None:
    before = OboLexicon(obo).fingerprint()
    obo.write_text(OBO + "\n", encoding="utf-8")
    assert OboLexicon(obo).fingerprint() != before
    assert Listed({"a": ["a"]}).fingerprint() != Listed({"a": ["a", "b"]}).fingerprint()


def test_the_symptom_ontology_can_be_read() -> None:
    if not ONTOLOGY.is_file():
        pytest.skip(f"no ontology at {ONTOLOGY}")
    terms = OboLexicon(ONTOLOGY).terms()
    assert len(terms) > 500 and "symptom" not in terms
    assert not any(name.startswith("obsolete") for name in terms)


@pytest.mark.parametrize(
    ("symptoms", "law"),
    [
        ({}, "a lexicon must have a symptom"),
        ({"pain": []}, "must have a list of spellings"),
        ({"pain": "ache"}, "must have a list of spellings"),
        ({"pain": ["ache", " "]}, "must have a list of spellings"),
        ({"pain": ["ache"], "cramp": ["Ache"]}, "must belong to one symptom"),
    ],
)
def test_bad_lists_are_errors(symptoms: dict[str, list[str]], law: str) -> None:
    with pytest.raises(ValueError, match=law):
        Listed(symptoms)


def test_bad_ontologies_are_errors(tmp_path: Path, obo: Path) -> None:
    with pytest.raises(ValueError, match="EXACT, BROAD, NARROW, RELATED, got CLOSE"):
        OboLexicon(obo, ["CLOSE"])
    with pytest.raises(FileNotFoundError, match=r"set task\.corpus\.lexicon\.path"):
        OboLexicon(tmp_path / "no.obo").terms()
    empty = tmp_path / "empty.obo"
    empty.write_text("format-version: 1.2\n", encoding="utf-8")
    with pytest.raises(ValueError, match="got none in .*; set another path"):
        OboLexicon(empty).terms()


def test_a_missing_library_is_named_with_its_extra() -> None:
    with pytest.raises(ImportError, match=r"needs the library no_such_library; .* pip install 'clinlm\[symptoms\]'"):
        imported("no_such_library.part", "symptoms")


def slowly(terms: dict[str, list[str]], text: str) -> list[tuple[str, int, int]]:
    """Try every place and every end, longest first."""
    found, place = [], 0
    while place < len(text):
        for end in range(len(text), place, -1):
            inside = text[place:end]
            whole = not re.match(r"\w", text[place - 1 : place]) and not re.match(r"\w", text[end : end + 1])
            if whole and inside == inside.strip() and normalize_term(inside) in terms:
                found.append((terms[normalize_term(inside)][0], place, end))
                place = end - 1
                break
        place += 1
    return found


@given(
    st.lists(st.sampled_from(WORDS), min_size=1, unique=True),
    st.lists(st.sampled_from([*WORDS, "PAIN", " ", "  ", ",", "\n", "s", "-"]), max_size=10).map("".join),
)
def test_mentions_are_whole_words_and_the_longest(words: list[str], text: str) -> None:
    expected = slowly({word: [word.upper()] for word in words}, text)
    assert [tuple(m) for m in Finder({word.upper(): [word] for word in words}).find(text)] == expected


def test_a_mask_stands_for_a_mention() -> None:
    text = "Chest  Pain, no cough; painless, pain."
    mentions = Finder({"pain": ["pain", "chest pain"], "cough": ["cough"]}).find(text)
    assert [mention.symptom for mention in mentions] == ["pain", "cough", "pain"]
    assert mask_mentions(text, mentions) == f"{MASK}, no {MASK}; painless, {MASK}."


@pytest.mark.parametrize("word", ["pa\u0131n", "SWELL\u0130NG", "\u017fwelling"])
def test_letters_that_only_look_alike_make_no_mention(word: str) -> None:
    """The matching of cases takes the dotless i, the dotted I and the long s for i and s."""
    found = Finder({"pain": ["pain"], "swelling": ["swelling"]}).find(f"{word} and pain")
    assert [mention.symptom for mention in found] == ["pain"]
