"""A wide branch answers as the sum it stands for, learns from labels, and leaves training to the network beside it."""

import math
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pipelines import TINY as SETTINGS
from support.pipelines import artifacts, composed, finished

from clinlm.config.errors import ConfigError
from clinlm.metrics.classification import quality
from clinlm.metrics.decisions import sigmoid
from clinlm.models.adapters.full import Full
from clinlm.models.initializers.scratch import Scratch
from clinlm.models.initializers.text_cnn import TextCnn
from clinlm.models.initializers.wide import Wide, token_weights
from clinlm.models.model import Model
from clinlm.models.surgery import keep_tokens
from clinlm.models.wide_branch import WideBranch
from clinlm.tasks.data import TaskData
from clinlm.tasks.entities import Entities
from clinlm.tasks.multilabel import MultiLabel
from clinlm.text.long_notes import Windows
from clinlm.training.distillation import Distillation
from clinlm.training.modules.student import Student
from clinlm.training.optimizer import AdamW

TINY = {"model_type": "bert", "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}
BEGIN = partial(Wide, TextCnn(8, (1, 3), 5, max_tokens=12))


def branch(vocabulary: int, seed: int = 0) -> WideBranch:
    torch.manual_seed(seed)
    made = WideBranch(vocabulary, 3, 4, 0.5)
    torch.nn.init.normal_(made.bias)
    return made


@given(rows=st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=30), min_size=1, max_size=3))
@settings(max_examples=30)
def test_every_distinct_token_counts_once(rows: list[list[int]]) -> None:
    """The logits are a sum over tokens with their counts, in a row of length 1; padding adds nothing."""
    made = branch(10)
    ids, mask = (torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long) for _ in range(2))
    for place, row in enumerate(rows):
        ids[place, : len(row)], mask[place, : len(row)] = torch.tensor(row), 1
    with torch.no_grad():
        found = made(ids, mask)
    table, bias = made.table.weight.detach().double().numpy(), made.bias.detach().double().numpy()
    for row, logits in zip(rows, found, strict=True):
        weights = {token: 1 + math.log(count) for token, count in Counter(row).items()}
        length = math.sqrt(sum(weight**2 for weight in weights.values()))
        slow = sum(weight / length * table[token] for token, weight in weights.items()) + bias
        np.testing.assert_allclose(logits.numpy(), slow, atol=1e-5)


def test_regressions_are_fitted_on_what_the_branch_computes(task: MultiLabel, tiny_model: Model) -> None:
    student = BEGIN().begin(task, tiny_model)
    wide: Any = student.network.wide
    members = task.examples.members("train")
    weights = token_weights(task.encode(student.tokenizer, task.max_tokens), members, len(student.tokenizer))
    slow = weights @ wide.table.weight.detach().numpy() + wide.bias.detach().numpy()
    data = TaskData(task, student.tokenizer, student.max_tokens)
    batch = data.collate(members.tolist())
    found = wide(batch["input_ids"], batch["attention_mask"]).detach().numpy()
    np.testing.assert_allclose(found, slow, atol=1e-4)
    values = quality(task.examples.targets[members], sigmoid(found), np.full(task.outputs, 0.5))
    assert values["micro_auroc"] > 0.95, "the words of every label are there"


def test_the_beginning_and_the_whole_are_averaged(task: MultiLabel, tiny_model: Model) -> None:
    student = BEGIN(share=0.3).begin(task, tiny_model)
    network = student.network.eval()
    batch = TaskData(task, student.tokenizer, student.max_tokens).collate([0, 1, 2, 3])
    ids, mask = batch["input_ids"], batch["attention_mask"]
    assert ids.shape[1] > 12 == student.network.wide.reach  # type: ignore[union-attr]
    with torch.no_grad():
        deep, wide = network.deep(ids[:, :12], mask[:, :12]), network.wide(ids, mask)  # type: ignore[misc]
        torch.testing.assert_close(network(ids, mask), 0.7 * deep + 0.3 * wide)
        network.dropout.p = 0.0
        torch.testing.assert_close(network.train()(ids, mask), deep)


def test_in_training_the_batch_brings_the_logits_of_the_branch(task: MultiLabel, tiny_model: Model) -> None:
    """Only the network beside the branch learns, and it learns what these lack."""
    student = BEGIN(share=0.5).begin(task, tiny_model)
    student.network.dropout.p = 0.0
    logits = torch.randn(60, 4)
    data = TaskData(task, student.tokenizer, student.max_tokens, teacher_logits=logits, wide_logits=-logits)
    settings: dict[str, Any] = {"adapter": Full(), "optimizer": AdamW(), "distill": Distillation(alpha=1.0)}
    module = Student(student, data, **settings)
    module.adapter.attach(student.network)
    batch = data.collate([0, 5, 7])
    deep = student.network.train()(batch["input_ids"], batch["attention_mask"])
    torch.testing.assert_close(module(batch), 0.5 * deep - 0.5 * logits[[0, 5, 7]])
    module.training_loss(batch).backward()  # type: ignore[no-untyped-call]
    learns = {name for name, parameter in student.network.named_parameters() if parameter.grad is not None}
    assert learns == {name for name, _ in student.network.named_parameters() if not name.startswith("wide.")}
    module.eval()
    assert not torch.allclose(module(batch), 0.5 * deep - 0.5 * logits[[0, 5, 7]])


def test_tokens_of_few_groups_have_no_weight(task: MultiLabel, tiny_model: Model) -> None:
    student = BEGIN().begin(task, tiny_model)
    members = task.examples.members("train")
    encoded = task.encode(student.tokenizer, task.max_tokens)
    groups = task.examples.frame["group"].gather(members).to_list()
    pairs = {(group, int(t)) for group, d in zip(groups, members, strict=True) for row in encoded.rows(d) for t in row}
    often = Counter(token for _, token in pairs)
    table = student.network.wide.table.weight  # type: ignore[union-attr]
    for token in range(len(student.tokenizer)):
        assert bool(table[token].any()) <= (often[token] >= task.min_groups)


def test_tokens_that_stay_keep_their_rows(task: MultiLabel, tiny_model: Model) -> None:
    student = BEGIN().begin(task, tiny_model)
    before = student.network.wide.table.weight.clone()  # type: ignore[union-attr]
    kept = [*range(0, len(before), 2)]
    keep_tokens(student.network, kept)
    wide: Any = student.network.wide
    assert torch.equal(wide.table.weight, before[kept]) and wide.table.num_embeddings == len(kept)
    assert student.network.eval()(torch.tensor([[1, 2, 2]]), torch.ones(1, 3, dtype=torch.long)).isfinite().all()


def test_a_sketch_has_the_parts_of_the_student(tiny_model: Model) -> None:
    made = BEGIN().sketch(tiny_model)
    assert made is not None and made.network.wide is not None and made.network.wide.table.weight.is_meta


def test_what_cannot_be_wide_is_refused(
    task: MultiLabel, entities: Entities, tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"must be a student made from its teacher \(.*, got Scratch"):
        Wide(Scratch(TINY))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"student.share must be in \(0, 1\), got 1"):
        BEGIN(share=1.0)
    monkeypatch.setitem(task.__dict__, "long_notes", Windows(overlap=0))
    with pytest.raises(ConfigError, match=r"reads a note in one row, got long_notes=windows, .* set long_notes=head"):
        BEGIN().begin(task, tiny_model)
    with pytest.raises(ConfigError, match="answers notes, got a task on words"):
        BEGIN().begin(entities, tiny_model)


@pytest.mark.integration
@pytest.mark.usefixtures("quick")
def test_a_pipeline_distils_prunes_and_quantises_it(
    notes_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("support.pipelines.TINY", [one for one in SETTINGS if not one.startswith("student.")])
    own = (
        "model@student=wide",
        "student.deep.embedding_size=8",
        "student.deep.filters=8",
        "student.deep.max_tokens=12",
    )
    methods = ("prune=filters", "quantize=qat", "quantize.epochs=1", "recover.epochs=1", "members=[{}]")
    terms = ("teachers=[teacher,tfidf]", "module@quantize_module=distill")
    done = artifacts(finished(composed(notes_csv, tmp_path / "store", "pipeline=optimclm", *own, *methods, *terms)))
    wide: Any = done["student"].load().network.wide
    last = done["quantize"].load()
    assert type(last.network.wide.table).__name__ == "Int8Embedding"  # type: ignore[union-attr]
    error = last.network.wide.table.dequantized() - wide.table.weight  # type: ignore[union-attr, operator]
    assert float(error.detach().abs().max()) <= float(wide.table.weight.detach().abs().max()) / 127
