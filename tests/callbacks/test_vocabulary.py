"""Laws of removing tokens: training texts are answered as before, the stage goes on with what is left, and it acts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.pipelines import FAST, built, factory, kept, reported

from callbacks.prune.vocabulary import Vocabulary
from callbacks.recover.finetune import Finetune
from clinlm.config.errors import ModelError
from clinlm.models import structure
from clinlm.models.adapters.full import Full
from clinlm.models.layers.int8_linear import Int8Linear
from clinlm.models.model import Model
from clinlm.tasks.data import TaskData
from clinlm.tasks.multilabel import MultiLabel
from clinlm.text.tokens import uncut
from clinlm.training.distillation import Distillation
from clinlm.training.modules.base import predict
from clinlm.training.modules.student import Student
from clinlm.training.modules.teacher import Teacher

pytestmark = pytest.mark.usefixtures("quick")


def logits(model: Model, task: MultiLabel, split: str) -> Any:
    data = TaskData(task, model.tokenizer, model.max_tokens)
    return predict(model.network, data.loader(task.examples.members(split)), task.long_notes)[1]


@pytest.mark.parametrize("epochs", [0, 2])
def test_training_texts_are_answered_as_before(
    tmp_path: Path, every_term: MultiLabel, tiny_model: Model, epochs: int
) -> None:
    task = every_term
    start = kept(tiny_model, tmp_path / "start")
    pruned = built(tmp_path / "pruned", task, start, {"prune": Vocabulary()}, epochs=epochs)
    (row,) = reported(pruned, "prune")
    before, after = start.load(), pruned.load()
    ours, theirs = uncut(after.tokenizer), uncut(before.tokenizer)
    assert all(ours.encode(text).tokens == theirs.encode(text).tokens for text in task.texts("train"))
    assert row.tokens_before == len(before.tokenizer) > row.tokens_after == len(after.tokenizer)
    assert structure.word_embeddings(after.network.body).num_embeddings == row.tokens_after >= row.occurring
    assert row.validation_pieces_after >= row.validation_pieces_before > 0
    same = np.array_equal(logits(before, task, "train"), logits(after, task, "train"))
    assert same == (epochs == 0)


def test_what_is_predicted_is_what_the_loaded_model_says(tmp_path: Path, task: MultiLabel, tiny_model: Model) -> None:
    """The stage binds the task to the new tokenizer, to train and to predict, with the teacher's logits."""
    start = kept(tiny_model, tmp_path / "start")
    both = {"prune": Vocabulary(min_count=30), "recover": Finetune(epochs=2, learning_rate=1e-3)}
    imitate = factory(Student, adapter=Full(), optimizer=FAST, distill=Distillation())
    pruned = built(tmp_path / "pruned", task, start, both, [start], imitate)
    loaded = pruned.load()
    for split in ("validation", "test"):
        np.testing.assert_allclose(logits(loaded, task, split), pruned.predictions(split), atol=1e-6)
    recovered = built(tmp_path / "recovered", task, pruned, {"recover": Finetune(epochs=1)})
    assert len(recovered.load().tokenizer) == len(loaded.tokenizer)
    assert recovered.load().edits == loaded.edits


def test_the_batches_of_the_stage_are_what_they_were(every_term: MultiLabel, tiny_model: Model) -> None:
    task = every_term
    data = TaskData(task, tiny_model.tokenizer, 32, 5, 7)
    wanted = [batch["index"].tolist() for batch in data.train_dataloader()]
    Vocabulary().prepare(Teacher(tiny_model, data, Full(), FAST))
    assert [batch["index"].tolist() for batch in data.train_dataloader()] == wanted
    assert (data.batch_size, data.seed, data.collate.teacher_logits) == (5, 7, None)
    assert max(int(batch["input_ids"].max()) for batch in data.train_dataloader()) < len(tiny_model.tokenizer)


def test_what_single_patients_have_goes_and_is_counted(
    tmp_path: Path, every_term: MultiLabel, tiny_model: Model
) -> None:
    """The same stage at 1 and at 12 patients: the second keeps less, and its report says how much was rare."""
    start = kept(tiny_model, tmp_path / "start")
    every = built(tmp_path / "every", every_term, start, {"prune": Vocabulary()})
    vars(every_term)["min_groups"] = 12  # the fixture puts it back
    common = built(tmp_path / "common", every_term, start, {"prune": Vocabulary()})
    assert (every.report["vocabulary"]["rare"], every.report["vocabulary"]["min_groups"]) == (0, 1)
    assert common.report["vocabulary"]["rare"] > 0 and common.report["vocabulary"]["min_groups"] == 12
    fewer, more = (set(own.load().tokenizer.get_vocab()) for own in (common, every))
    patients = every_term.examples.frame["group"].gather(every_term.examples.members("train")).to_list()
    tokens = [set(uncut(tiny_model.tokenizer).encode(text).tokens) for text in every_term.texts("train")]
    assert fewer < more
    for gone in more - fewer:
        assert len({patient for patient, own in zip(patients, tokens, strict=True) if gone in own}) < 12


def test_a_vocabulary_without_idle_tokens_raises(tmp_path: Path, task: MultiLabel, tiny_model: Model) -> None:
    once = built(tmp_path / "once", task, kept(tiny_model, tmp_path / "start"), {"prune": Vocabulary()})
    with pytest.raises(RuntimeError, match=r"left every tensor as it was \(all .* tokens occur in the training texts"):
        built(tmp_path / "twice", task, once, {"prune": Vocabulary()})


def test_tokens_that_come_back_raise(tmp_path: Path, task: MultiLabel, tiny_model: Model) -> None:
    class Grows(Vocabulary):  # type: ignore[misc]
        def step(self, module: Any, progress: float) -> None:
            structure.word_embeddings(module.network.body).num_embeddings = 150

    with pytest.raises(RuntimeError, match="VocabularySize promised .*150"):
        built(tmp_path / "built", task, kept(tiny_model, tmp_path / "start"), {"prune": Grows()}, epochs=1)


def test_an_int8_network_is_finished(task: MultiLabel, tiny_model: Model) -> None:
    data = TaskData(task, tiny_model.tokenizer, 32)
    Int8Linear.edit(["body.encoder.layer.0.output.dense"])(tiny_model.network)
    with pytest.raises(ModelError, match="weights must be floats"):
        Vocabulary().prepare(Teacher(tiny_model, data, Full(), FAST))


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="prune.min_count must be >= 1, got 0"):
        Vocabulary(0)
