"""Laws of the ontology labeler."""

from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from clinlm.config.validation import CONF
from clinlm.labelers.base import Note
from clinlm.labelers.ontology import Ontology
from clinlm.terminology.dictionary import Dictionary
from clinlm.terminology.spans import Span
from clinlm.terminology.stop_terms import STOP_TERMS

ONTOLOGIES = Path(__file__).parents[3] / "shared" / "data" / "ontology"
YAMLS = sorted(CONF.glob("labeler/ontology*.yaml"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "drugs.csv").write_text("name\naspirin\nALL\nmilk\nMS\n", encoding="utf-8")
    (tmp_path / "diseases.csv").write_text("name\nheart attack\nmilk\nMS\ndisease\n", encoding="utf-8")
    return tmp_path


def labeler(root: Path, **settings: Any) -> Ontology:
    sources = {name: Dictionary(f"{name}.csv", name.upper(), ["name"]) for name in ("drugs", "diseases")}
    return Ontology(root, sources, **settings)


def test_one_answer_a_note_in_their_order(root: Path) -> None:
    notes = [Note("Heart  attacks, MS: aspirin."), Note(""), Note("All disease, ALL of milk")]
    first, second, third = labeler(root).label(notes)
    assert first.spans == (Span(0, 14, "DISEASES"), Span(16, 18, "DRUGS"), Span(20, 27, "DRUGS"))
    assert second.spans == ()
    assert third.spans == (Span(13, 16, "DRUGS"),)
    assert all(one.seconds > 0 and not one.failed for one in (first, second, third))


def test_the_list_of_stop_terms_can_be_changed(root: Path) -> None:
    note = [Note("milk, aspirin")]
    assert [len(one.spans) for one in labeler(root, keep=["milk"]).label(note)] == [2]
    assert [len(one.spans) for one in labeler(root, stop=["Aspirins"]).label(note)] == [0]
    with pytest.raises(ValueError, match="must list terms of .*, got nothing like it; write"):
        labeler(root, keep=["nothing like it"])
    with pytest.raises(ValueError, match=r"set labeler\.sources"):
        Ontology(root, {})


def test_nothing_is_read_before_it_is_needed(root: Path) -> None:
    absent = labeler(root / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"set labeler\.root"):
        next(iter(absent.label([Note("x")])))
    with pytest.raises(FileNotFoundError, match=r"set labeler\.root"):
        absent.fingerprint()


def test_the_fingerprint_follows_settings_and_files(root: Path) -> None:
    plain = labeler(root).fingerprint()
    assert labeler(root).fingerprint() == plain
    others = [labeler(root, **{key: value}) for key, value in (("acronym", 3), ("shortest", 4), ("stop", ["x"]))]
    turned = Ontology(root, dict(reversed(labeler(root).sources.items())))
    prints = {one.fingerprint() for one in (*others, labeler(root, keep=["milk"]), turned)}
    (root / "drugs.csv").write_text("name\naspirin\n", encoding="utf-8")
    assert len({*prints, plain, labeler(root).fingerprint()}) == 7


def test_stop_terms_are_written_once_each() -> None:
    assert len(set(STOP_TERMS)) == len(STOP_TERMS)
    assert all(term == " ".join(term.split()) != "" for term in STOP_TERMS)


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.stem)
def test_every_yaml_builds_one(path: Path) -> None:
    settings = OmegaConf.load(path)
    assert OmegaConf.missing_keys(settings) == {"root"}
    built = instantiate(settings, root="/nowhere")
    assert isinstance(built, Ontology) and not built.remote and not built.needs_people
    one = next(iter(settings.sources))
    del settings.sources[one]
    assert set(instantiate(settings, root="/nowhere").sources) == set(built.sources) - {one}


def test_the_open_vocabularies() -> None:
    if not ONTOLOGIES.is_dir():
        pytest.skip(f"no ontologies at {ONTOLOGIES}")
    built = instantiate(OmegaConf.load(CONF / "labeler" / "ontology.yaml"), root=str(ONTOLOGIES))
    text = "Given two aspirins for fevers; known asthma, and all the same he drinks water.\nNo Crohn's disease."
    [answer] = built.label([Note(text)])
    assert [(text[start:end], label) for start, end, label in answer.spans] == [
        ("aspirins", "MEDICATION"),
        ("fevers", "SYMPTOM"),
        ("asthma", "DISEASE"),
        ("Crohn's disease", "DISEASE"),
    ]
