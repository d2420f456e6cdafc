"""Laws of which written words are one word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinlm.terminology.word_forms import WORD, fold_gap, fold_word, strip_possessive


@pytest.mark.parametrize(
    "forms",
    [
        *("rash rashes", "biopsy biopsies", "headache headaches", "abscess abscesses", "virus viruses", "tic tics"),
        *("metastasis metastases", "knee knees", "calorie calories", "disease diseases Disease", "lesion LESIONS"),
        *("anaemia anemia anaemias", "oedema edema", "tumour tumor tumours", "haemorrhage hemorrhages"),
        *("Ménière Me\u0301nie\u0300re Meniere", "\ufb01brosis fibrosis", "hyper\u00adtension hypertension"),
        *("α alpha Alpha", "Straße STRASSE", "İleus i\u0307leus"),
    ],
)
def test_forms_of_a_word_are_one(forms: str) -> None:
    assert len({fold_word(form) for form in forms.split()}) == 1


@pytest.mark.parametrize("words", ["mass mas", "all a", "gas ga", "here her", "aid lid", "abscess absces", "B12 B1"])
def test_other_words_are_others(words: str) -> None:
    one, other = words.split()
    assert fold_word(one) != fold_word(other)


@given(st.from_regex(r"[b-df-hj-np-rtv-xz]{2}[aeiou][b-df-hj-np-rtv-xz]{1,6}", fullmatch=True))
def test_every_regular_plural_is_its_singular(word: str) -> None:
    ending = "es" if word.endswith(("x", "z", "ch", "sh")) else "s"
    assert fold_word(f"{word}{ending}") == fold_word(word)


@pytest.mark.parametrize("owner", ["Crohn's", "Crohn ' s", "Crohn\u2019s", "CROHN'S", "Crohn 's"])
def test_a_possessive_is_part_of_its_word_and_not_of_its_form(owner: str) -> None:
    assert WORD.split(f"({owner} x)")[1] == owner
    assert strip_possessive(owner) == owner[:5] and fold_word(owner) == "crohn"


@pytest.mark.parametrize("text", ["it's5", "a 'silent s", "dogs", "the s"])
def test_no_possessive_where_there_is_none(text: str) -> None:
    assert all(strip_possessive(word) == word for word in WORD.split(text)[1::2])


@pytest.mark.parametrize(
    ("gap", "read"),
    [
        (" ", " "),
        ("-", " "),
        (" - ", " "),
        (" \n", " "),
        ("\u2011", " "),
        ("' ", " "),
        (" , ", ","),
        (" (", "("),
        (")-", ")"),
    ]
    + [("\n\n", "\n"), ("\n \n", "\n"), (".\n- ", "\n"), ("\u200b", " "), ("", " ")],
)
def test_what_is_between_words(gap: str, read: str) -> None:
    assert fold_gap(gap) == read


@given(st.text())
def test_words_and_gaps_are_the_whole_text(text: str) -> None:
    pieces = WORD.split(text)
    assert "".join(pieces) == text
    assert len(pieces) % 2 and all(pieces[1::2])
    assert not any(character.isalnum() for gap in pieces[::2] for character in gap)
