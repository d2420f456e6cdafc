"""Laws of a start from nothing: the seed decides everything, and training texts alone the vocabulary."""

import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.families import config

from clinlm.models import artifact
from clinlm.models.initializers.scratch import Scratch, _word_pieces
from clinlm.models.model import Model, rebuild
from clinlm.store.content import write_json
from clinlm.tasks.base import Task
from clinlm.tasks.data import TaskData
from clinlm.tasks.multilabel import MultiLabel
from clinlm.text.group_floor import GroupFloor, LearntTerms
from clinlm.text.stored_tokenizer import TOKENIZER

CONFIG = {
    "model_type": "bert",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "max_position_embeddings": 40,
}
# A new process shares neither the seeds of hash tables nor the order of threads with this one.
_ELSEWHERE = """
import sys
from functools import partial
from pathlib import Path
import torch
from clinlm.models import artifact
from clinlm.corpora.table import Table
from clinlm.text.long_notes import Head
from clinlm.models.initializers.scratch import Scratch
from clinlm.tasks.multilabel import MultiLabel
corpus = partial(Table, text="text", labels="labels", id="id", group="group", delimiter=";")
task = MultiLabel(corpus, sys.argv[1], Head(), labels=4, max_tokens=32, shares=(0.6, 0.2, 0.2))
task.open(Path(sys.argv[2]), "key")
torch.manual_seed(0)
artifact.save(Scratch(eval(sys.argv[3]), 150).begin(task, None), Path(sys.argv[2]))
"""


def begin(task: Task, seed: int = 0, **settings: Any) -> Model:
    torch.manual_seed(seed)
    own: dict[str, Any] = {"config": CONFIG, "vocabulary": 150}
    return Scratch(**own | settings).begin(task, None)


def vocabulary(model: Model) -> str:
    told: str = model.tokenizer.backend_tokenizer.to_str()
    return told


def test_the_seed_decides_the_weights_and_not_the_vocabulary(task: MultiLabel) -> None:
    first, again, other = begin(task), begin(task), begin(task, seed=1)
    assert vocabulary(first) == vocabulary(again) == vocabulary(other)
    state = first.network.state_dict()
    assert all(state[name].equal(tensor) for name, tensor in again.network.state_dict().items())
    assert not state["head.weight"].equal(other.network.state_dict()["head.weight"])


def test_another_process_begins_with_the_same(task: MultiLabel, notes_csv: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _ELSEWHERE, str(notes_csv), str(tmp_path), repr(CONFIG)]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[2])
    here = begin(task)
    told = json.loads((tmp_path / TOKENIZER / "tokenizer.json").read_text(encoding="utf-8"))
    assert told["model"]["vocab"] == json.loads(vocabulary(here))["model"]["vocab"]
    state = load_file(tmp_path / artifact.WEIGHTS)
    assert state.keys() == here.network.state_dict().keys()
    assert all(state[name].equal(tensor) for name, tensor in here.network.state_dict().items())


def test_only_training_texts_are_read(task: MultiLabel, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    texts = task.texts("train")

    def watched(split: str) -> list[str]:
        asked.append(split)
        return texts

    monkeypatch.setitem(vars(task), "texts", watched)
    begin(task)
    assert set(asked) == {"train"}


def test_every_piece_is_part_of_a_word_of_enough_patients(task: MultiLabel) -> None:
    patients = task.examples.frame["group"].gather(task.examples.members("train")).to_list()
    having = defaultdict[str, set[str]](set)
    for patient, text in zip(patients, task.texts("train"), strict=True):
        for word in re.findall(r"\w+|[^\w\s]", text.lower()):
            having[word].add(patient)
    common = [word for word, own in having.items() if len(own) >= task.min_groups]
    model = begin(task)
    learnt = [piece.removeprefix("##") for piece in model.tokenizer.get_vocab() if not piece.startswith("[")]
    longer = [piece for piece in learnt if len(piece) > 1]
    assert longer and all(any(piece in word for word in common) for piece in longer)
    assert model.learnt == LearntTerms(len(longer), len(having) - len(common), 5)
    assert model.tokenizer.unk_token_id not in model.tokenizer(" ".join(task.texts("train")))["input_ids"]


def test_a_vocabulary_of_letters_only_is_told(caplog: pytest.LogCaptureFixture) -> None:
    texts = ["fever and cough", "fever and rash", "cough and rash"]
    for least in (1, 3):
        _, learnt = _word_pieces(texts, 200, GroupFloor.of(range(3), least))
        assert learnt.kept > 0 and not caplog.records
    _, learnt = _word_pieces(texts, 200, GroupFloor.of(range(3), 4))
    assert learnt.kept == 0 and learnt.rare == 4
    assert "no word" in caplog.text and "of 3 groups" in caplog.text and "lower task.min_groups" in caplog.text


def test_rows_stand_between_cls_and_sep(task: MultiLabel) -> None:
    tokenizer = begin(task).tokenizer
    ids = tokenizer("fever and cough")["input_ids"]
    assert (ids[0], ids[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == "fever and cough"
    data = TaskData(task, tokenizer, 16)
    first = data.collate([0])["input_ids"][0].tolist()
    assert (first[0], first[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)


def test_the_vocabulary_has_its_size_and_every_token_an_embedding(task: MultiLabel) -> None:
    for most in (100, 150):
        model = begin(task, vocabulary=most)
        assert len(model.tokenizer) <= most
        assert model.network.body.get_input_embeddings().num_embeddings == len(model.tokenizer)  # type: ignore[operator]
        assert max(model.tokenizer.get_vocab().values()) == len(model.tokenizer) - 1


def test_padding_means_the_same_to_tokenizer_and_network(task: MultiLabel) -> None:
    """RoBERTa counts positions by the tokens that are not padding."""
    model = begin(task, config=CONFIG | {"model_type": "roberta"})
    assert config(model.network).pad_token_id == model.tokenizer.pad_token_id


@pytest.mark.parametrize("head_bias", ["prior", "zero"])
def test_the_head_begins_at_the_label_frequencies_or_at_zero(task: MultiLabel, head_bias: str) -> None:
    bias = begin(task, head_bias=head_bias).network.head.bias
    train = task.examples.targets[task.examples.members("train")]
    frequency = torch.from_numpy((train.sum(0) + 1) / (len(train) + 2)).float()
    assert torch.allclose(bias.sigmoid(), frequency if head_bias == "prior" else torch.full((4,), 0.5))


@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "max_mean", "attention", "label_attention"])
def test_the_spec_rebuilds_it(task: MultiLabel, tmp_path: Path, pooling: str) -> None:
    model = begin(task, pooling=pooling, dropout=0.3)
    write_json(tmp_path / "spec.json", model.spec.to_json())
    skeleton = rebuild(artifact.read_spec(tmp_path), [])
    skeleton.load_state_dict(model.network.state_dict(), strict=True)
    assert skeleton.dropout.p == 0.3
    assert skeleton.pooling.name == pooling
    assert model.max_tokens == 40


def test_settings_are_checked(task: MultiLabel) -> None:
    with pytest.raises(ValueError, match="vocabulary must be >= 100, got 99"):
        Scratch(CONFIG, vocabulary=99)
    with pytest.raises(ValueError, match="head_bias must be one of prior, zero, got 'mean'"):
        begin(task, head_bias="mean")
