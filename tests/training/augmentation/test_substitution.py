"""Laws of substitution: what is never touched, where candidates come from, and how they are written."""

import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import final

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.wards import opened, write
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

from clinlm.models.initializers.scratch import Scratch
from clinlm.tasks.base import Task
from clinlm.tasks.multilabel import MultiLabel
from clinlm.text.negation_triggers import TRIGGERS
from clinlm.training.augmentation.masked_substitution import MaskedSubstitution
from clinlm.training.augmentation.neighbour_substitution import NeighbourSubstitution
from clinlm.training.augmentation.neighbours import mean_embeddings, neighbours, word_states
from clinlm.training.augmentation.substitution import PROTECTED, Substitution, Words, negates

SMALL = {"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
SHAPE = SMALL | {"intermediate_size": 16, "max_position_embeddings": 40}


@final
class Shouting(Substitution):
    """Puts `other` in the place of every word."""

    def propose(
        self, texts: Sequence[str], notes: Sequence[Words], task: Task, seed: int
    ) -> Iterator[Sequence[Sequence[str]]]:
        for note in notes:
            yield [("other",) for _ in note]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> MultiLabel:
    folder = tmp_path_factory.mktemp("substitution")
    return opened(write(folder / "notes.csv"), folder, training_documents=14, min_groups=1)


@pytest.mark.parametrize(
    ("text", "free"),
    [
        ("Severe Chest pain.", "severe chest pain"),
        ("No fever, denies chills; cannot walk, can't stand, doesn't cough", "fever chills walk stand cough"),
        ("Took 20 mg of B12 x2 on 3/4, three times, grade III", "took times grade"),
        ("CHIEF COMPLAINT: Ankle pain\nFindings: swelling", "ankle pain swelling"),
        ("Seen by [**First Name**] at [**Hospital 12**] ward", "ward"),
        ("follow-up of gram-negative rods, non-tender", "rods"),
        ("Pt is an ox", ""),
        ("", ""),
    ],
)
def test_which_words_may_be_replaced(text: str, free: str) -> None:
    note = Shouting().words(text)
    assert set(free.split()) >= set(note) >= set(free.split()) - PROTECTED
    assert "".join(note.pieces) == text
    assert [text[start : start + len(word)].lower() for start, word in zip(note.starts, note, strict=True)] == [*note]


@given(st.text(st.sampled_from("ab no'-1:\n[*]AB.,é"), max_size=60))
def test_a_note_is_its_pieces(text: str) -> None:
    note = Shouting().words(text)
    assert "".join(note.pieces) == text and len(note.pieces) == 2 * len(note.starts) + 1
    assert all(word.isalpha() and len(word) >= 3 and word not in PROTECTED for word in note)


def test_every_negation_of_the_triggers_is_protected() -> None:
    cues = [cue for side in ("preceding", "following") for cue in TRIGGERS["negated"][f"{side}_negations"]]
    for cue in cues:
        assert not [*Shouting().words(f"the {cue} .")], cue
    assert {"no", "not", "without", "denies", "denied", "negative", "absent", "never", "three", "left"} - PROTECTED == {
        "left"
    }


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_what_changes_truth_stays(task: MultiLabel, share: float) -> None:
    kept = re.compile(r"\d+|\b(?:no|denies|nontender|mg|[A-Z ]+:)")
    start = Scratch(SHAPE, vocabulary=200)
    transfer = NeighbourSubstitution(start, times=1, share=share, candidates=4, protected=["Tender", "nontender"])
    known = set(" ".join(task.texts("train")).lower().replace(".", " ").split())
    changed = total = 0
    for before, after in zip(task.texts("train"), transfer.drafts(task, 0), strict=True):
        assert kept.findall(before) == kept.findall(after)
        assert set(after.lower().replace(".", " ").split()) <= known | {"seen"}
        old, new = (transfer.words(text) for text in (before, after))
        assert len([*old]) == len([*new]) and before.lower().count("tender") == after.lower().count("tender")
        changed += sum(a != b for a, b in zip(old, new, strict=True))
        total += len([*old])
    assert changed / total == pytest.approx(share, abs=0.15)


def test_words_take_the_capitals_of_those_they_replace(tmp_path: Path) -> None:
    task = opened(write(tmp_path / "notes.csv"), tmp_path)
    task.__dict__["texts"] = lambda split: ["Sudden COUGH, mild"]
    assert list(Shouting(share=1.0, times=2).drafts(task, 0)) == ["Other OTHER, other"] * 2


def test_what_negates() -> None:
    known = {"tender", "febrile", "pain", "remarkable", "dominal", "bacterial"}
    asked = ["nontender", "afebrile", "unremarkable", "painless", "abacterial", "tender", "abdomen"]
    assert [word for word in asked if negates(word, known)] == asked[:5]
    assert not negates("nontender", set())


def test_neighbours_by_hand() -> None:
    """The mean is (1, 1); seen from there the words point east, east by north, north and south-west."""
    words = Counter({"east": 2, "east_by_north": 2, "north": 2, "once": 1})
    vectors = torch.tensor([[3.0, 1.0], [2.0, 1.5], [1.0, 3.0], [-2.0, -1.5]])
    assert torch.equal(vectors.mean(0), torch.tensor([1.0, 1.0]))
    assert neighbours(words, lambda word: True, 2, vectors) == {
        "east": ("east_by_north", "north"),
        "east_by_north": ("east", "north"),
        "north": ("east_by_north", "east"),
        "once": ("north", "east"),
    }
    assert neighbours(words, lambda word: word != "north", 1, vectors) == {
        "east": ("east_by_north",),
        "east_by_north": ("east",),
        "once": ("east",),
    }
    assert neighbours(words, lambda word: False, 1, vectors) == {}


def test_vectors_of_words(task: MultiLabel) -> None:
    torch.manual_seed(0)
    model = Scratch(SHAPE, vocabulary=120).begin(task, None)
    words = ["abdomen", "spirometry", "toe", "cast"]
    table = model.network.body.get_input_embeddings()  # type: ignore[operator]
    pieces = [model.tokenizer(word, add_special_tokens=False)["input_ids"] for word in words]
    assert max(map(len, pieces)) > 1
    expected = torch.stack([table.weight[ids].mean(0) for ids in pieces])
    torch.testing.assert_close(mean_embeddings(words, model.tokenizer, table), expected)
    one_by_one = torch.cat([word_states([word], model) for word in words])
    torch.testing.assert_close(word_states(words, model), one_by_one)


def favouring(folder: Path, place: Path, word: str) -> Path:
    """A copy of the language model that finds one word likely everywhere."""
    model, tokenizer = AutoModelForMaskedLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        model.cls.predictions.bias[tokenizer.convert_tokens_to_ids(word)] += 100
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def test_the_language_model_is_asked(task: MultiLabel, language_model: Path, tmp_path: Path) -> None:
    """Words of one token become what it favours, others never do; rows are far shorter than the notes."""
    word = "wheeze"
    transfer = MaskedSubstitution(
        str(favouring(language_model, tmp_path / "model", word)), times=1, share=1.0, candidates=1
    )
    tokenizer = AutoTokenizer.from_pretrained(language_model)
    words = {word for text in task.texts("train") for word in transfer.words(text)}
    pieces = {word: len(tokenizer(word, add_special_tokens=False)["input_ids"]) for word in words}
    assert max(pieces.values()) > 1 and pieces[word] == 1
    replaced = 0
    for before, after in zip(task.texts("train"), transfer.drafts(task, 0), strict=True):
        for old, new in zip(transfer.words(before), transfer.words(after), strict=True):
            if pieces[old] == 1 and old != word:
                assert new == word
                replaced += 1
            else:
                assert new != old or old == word
    assert replaced > 50


def test_candidates_are_those_of_their_place(task: MultiLabel, language_model: Path) -> None:
    """In a row this short every word is masked alone: asked one by one, the model says the same."""
    transfer = MaskedSubstitution(str(language_model), candidates=3)
    text = "wheeze and cast, fall"
    ((*found,),) = transfer.propose([text], [transfer.words(text)], task, 0)
    model = AutoModelForMaskedLM.from_pretrained(language_model).eval()
    tokenizer = AutoTokenizer.from_pretrained(language_model)
    row = tokenizer(text, return_tensors="pt")["input_ids"]
    may = {token: i for token, i in tokenizer.get_vocab().items() if token.isalpha() and transfer.free(token)}
    words = ["wheeze", "cast", "fall"]
    assert [*transfer.words(text)] == words
    for word, own in zip(words, found, strict=True):
        masked = torch.where(row == may[word], tokenizer.mask_token_id, row)
        with torch.no_grad():
            scores = model(input_ids=masked).logits[0, (row[0] == may[word]).nonzero().item()]
        ranked = sorted((w for w in may if w != word and not negates(w, may)), key=lambda w: -float(scores[may[w]]))
        assert own == ranked[:3]


def test_a_favourite_that_negates_is_not_taken(task: MultiLabel, language_model: Path, tmp_path: Path) -> None:
    for word in ("no", "denies"):
        place = favouring(language_model, tmp_path / word, word)
        transfer = MaskedSubstitution(str(place), times=1, share=1.0, candidates=3)
        for before, after in zip(task.texts("train"), transfer.drafts(task, 0), strict=True):
            assert before.lower().split().count(word) == after.lower().split().count(word)


def test_a_model_without_the_head_is_refused(task: MultiLabel, language_model: Path, tmp_path: Path) -> None:
    shutil.copytree(language_model, tmp_path / "bare")
    AutoModel.from_pretrained(language_model).save_pretrained(tmp_path / "bare")
    with pytest.raises(
        ValueError, match="has none; set augmentation.name, or choose augmentation=neighbour_substitution"
    ):
        list(MaskedSubstitution(str(tmp_path / "bare")).drafts(task, 0))
    with pytest.raises(OSError, match="cannot be loaded as one"):
        list(MaskedSubstitution(str(tmp_path / "nowhere")).drafts(task, 0))


def test_fingerprints_follow_the_weights(language_model: Path, tmp_path: Path) -> None:
    other = favouring(language_model, tmp_path / "other", "wheeze")
    own, again, another = (MaskedSubstitution(str(p)).fingerprint() for p in (language_model, language_model, other))
    assert own == again != another
    assert MaskedSubstitution("some/name", "main").fingerprint() == "some/name@main"


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"times": 0}, "times"), ({"share": 0.0}, "share"), ({"share": 1.1}, "share"), ({"candidates": 0}, "candidates")],
)
def test_settings_are_checked(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=f"augmentation.{message} must"):
        Shouting(**settings)  # type: ignore[arg-type]
