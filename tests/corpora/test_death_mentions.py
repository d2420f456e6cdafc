"""Laws of the mentions of death that tell the answer."""

import pytest

from clinlm.corpora.mimic.admission_notes import without_death


@pytest.mark.parametrize(
    ("note", "left"),
    [
        ("CHIEF COMPLAINT: pain", "CHIEF COMPLAINT: pain"),
        ("PHYSICAL EXAM: cold, pt expired\n\nX", "PHYSICAL EXAM: cold, \n\nX"),
        ("physical exam: patient has  died", "physical exam: patient has"),
        ("physical exam: patient has died", "physical exam: "),
        ("MEDICATION ON ADMISSION: none, deceased", "MEDICATION ON ADMISSION: none,"),
        ("PHYSICAL EXAM: died deceased", "PHYSICAL EXAM: deceased"),
        ("PHYSICAL EXAM: died pt deceased", None),
        ("PHYSICAL EXAM: a PHYSICAL EXAM: pt died, pt died", None),
        ("PHYSICAL EXAM: a\n\nALLERGIES: pt died", None),
        ("FAMILY HISTORY: father died", "FAMILY HISTORY: father died"),
        ("PRESENT ILLNESS: she EXPIRED", None),
        ("PRESENT ILLNESS: the expired drug", None),
        ("PRESENT ILLNESS: pronounced expired", None),
        ("PRESENT ILLNESS: Time of death 10", None),
        ("PRESENT ILLNESS: outpatient\n\nexpired", None),
        ("PRESENT ILLNESS: was deceased", "PRESENT ILLNESS: was deceased"),
    ],
)
def test_published(note: str, left: str | None) -> None:
    assert without_death(note, "published") == left


@pytest.mark.parametrize(
    ("note", "kept"),
    [
        ("PRESENT ILLNESS: pain", True),
        ("PRESENT ILLNESS: lives alone. Husband died of gout.", True),
        ("PRESENT ILLNESS: was deceased on arrival", False),
        ("PHYSICAL EXAM: pt died", False),
        ("PRESENT ILLNESS: son at bedside. Comfort measures only.", False),
        ("FAMILY HISTORY: Mother: gout. Died young.", True),
        ("FAMILY HISTORY: the patient died", False),
    ],
)
def test_strict_drops_every_mention_but_those_of_relatives(note: str, kept: bool) -> None:
    assert without_death(note, "strict") == (note if kept else None)
