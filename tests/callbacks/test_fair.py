"""Fair recovery: whom it weighs, that it resumes with its weights, and that it keeps a gap which pruning doubles."""

import csv
import math
import random
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from support.pipelines import built, factory, kept, reported

from callbacks.prune.unstructured import Unstructured
from callbacks.recover.fair import Fair
from callbacks.recover.finetune import Finetune
from callbacks.schedules.one_shot import OneShot
from clinlm.config.errors import ConfigError
from clinlm.corpora.table import Table
from clinlm.models.adapters.full import Full
from clinlm.models.artifact import Artifact
from clinlm.models.initializers.scratch import Scratch
from clinlm.models.model import Model
from clinlm.pipeline.degradation import measure_degradation
from clinlm.tasks.data import TaskData
from clinlm.tasks.entities import Entities
from clinlm.tasks.multilabel import MultiLabel
from clinlm.tasks.transfer_set import TransferSet
from clinlm.text.long_notes import Head
from clinlm.training.modules.teacher import Teacher
from clinlm.training.optimizer import AdamW
from clinlm.training.promises import SubgroupWeight

pytestmark = pytest.mark.usefixtures("quick")
LABELS = ("asthma", "flu", "gout", "rash")
FAST = AdamW(3e-3, 3e-3, warmup=0.05)
LEARNS = factory(Teacher, adapter=Full(), optimizer=FAST)
TINY = {"model_type": "bert", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2} | {
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}


def planted(folder: Path, notes: int) -> MultiLabel:
    """A task whose men, an eighth of the patients, are written about in words that mean something else for women."""
    rng = random.Random(0)
    with (folder / "notes.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "labels", "gender"])
        for number in range(notes):
            gender = "M" if number % 8 == 0 else "F"
            labels = rng.sample(LABELS, rng.randint(1, 2))
            shift = gender == "M"  # the words of one label are those of the next
            said = [f"sign{(LABELS.index(label) + shift) % 4}x{rng.randint(1, 3)}" for label in labels]
            words = [*said, *(f"filler{rng.randint(1, 40)}" for _ in range(6))]
            rng.shuffle(words)
            words.insert(0, {"F": "woman", "M": "man"}[gender])
            writer.writerow([f"n{number}", " ".join(words), ";".join(sorted(labels)), gender])
    corpus = partial(Table, text="text", labels="labels", id="id", delimiter=";", attributes=["gender"])
    task = MultiLabel(corpus, str(folder / "notes.csv"), Head(), labels=4, max_tokens=32, shares=(0.5, 0.1, 0.4))
    task.open(folder / "store", "key")
    return task


def started(task: MultiLabel, folder: Path, seed: int) -> Artifact:
    torch.manual_seed(seed)
    task.__dict__["min_groups"] = 1  # of a vocabulary of 300, whatever is left for others
    return kept(Scratch(TINY, vocabulary=300).begin(task, None), folder)


def test_weights_follow_losses_and_count_subgroups_alike(tmp_path: Path) -> None:
    task = planted(tmp_path, 300)
    fair = Fair(step=0.5, smallest=5)
    fair._read(task)
    assert fair._names == {"gender": ["F", "M"]}
    assert sum(fair._documents["gender"]) == len(task.examples.members("train"))
    men = torch.tensor([own["gender"] == "M" for own in task.examples.frame["attributes"].to_list()])
    batch = {"index": torch.cat([men.nonzero()[:2, 0], (~men).nonzero()[:6, 0]])}
    logits = torch.where(men[batch["index"]], 3.0, 1.0)

    def plain(own: torch.Tensor, part: dict[str, torch.Tensor]) -> torch.Tensor:
        assert {*part} == {"index"} and len(own) == len(part["index"])
        return own.mean()

    weights = torch.tensor([0.5, 0.5])
    for _ in range(3):
        weights = weights * (0.5 * torch.tensor([1.0, 3.0])).exp()
        weights /= weights.sum()
        loss = fair._loss("gender", plain, logits, batch)
        assert float(loss) == pytest.approx(float(weights @ torch.tensor([1.0, 3.0])))
    alone = {"index": (~men).nonzero()[:6, 0]}
    assert float(fair._loss("gender", plain, logits[2:], alone)) == pytest.approx(1.0)
    again = Fair(step=0.5, smallest=5)
    again._read(task)
    again.load_state_dict(fair.state_dict())
    assert torch.equal(again._logs["gender"], fair._logs["gender"])
    assert torch.equal(again._last["gender"], fair._last["gender"])
    rows = [row for row in fair.report().rows if isinstance(row, SubgroupWeight)]
    assert [row.subgroup for row in rows] == ["F", "M"] and rows[1].weight > 0.9 > rows[0].weight


@pytest.mark.parametrize(("rare", "men"), [(0.5, 0.5), (1.0, 1.0), (0.25, 0.0)])
def test_weight_is_won_by_a_loss_and_not_by_being_in_every_batch(tmp_path: Path, rare: float, men: float) -> None:
    """For 3,000 batches, each with women, whose loss is 0.5, and every eighth with a man.

    The weights are those of group DRO with every subgroup in every step.
    """
    task = planted(tmp_path, 300)
    fair = Fair(smallest=5)
    fair._read(task)
    genders = [own["gender"] for own in task.examples.frame["attributes"].to_list()]
    woman, man = genders.index("F"), genders.index("M")
    for step in range(3000):
        index = torch.tensor([woman, man] if step % 8 == 0 else [woman])
        logits = torch.where(index == woman, 0.5, rare)
        assert fair._loss("gender", lambda own, part: own.mean(), logits, {"index": index}).isfinite()
    weights = {row.subgroup: row.weight for row in fair.report().rows if isinstance(row, SubgroupWeight)}
    assert weights == pytest.approx({"F": 1 - men, "M": men})


def test_a_rare_subgroup_weighs_as_much_as_a_common_one_with_its_loss() -> None:
    """Of three subgroups, two with one loss, of which one is in every batch and one in every eighth."""
    fair = Fair(step=0.01)
    fair._members["site"], fair._names["site"] = torch.tensor([0, 1, 2]), ["common", "rare", "easy"]
    fair._logs["site"], fair._last["site"] = torch.zeros(3), torch.full((3,), torch.nan)
    for step in range(80):
        index = torch.tensor([0, 1, 2] if step % 8 == 0 else [0, 2])
        fair._loss("site", lambda own, part: own.mean(), torch.tensor([0.6, 0.6, 0.2])[index], {"index": index})
    common, rare, easy = fair._logs["site"].softmax(0).tolist()
    assert common == pytest.approx(rare) and common / easy == pytest.approx(math.exp(0.01 * 80 * 0.4))


def test_what_has_no_subgroups_is_refused(tmp_path: Path, entities: Entities, task: MultiLabel) -> None:
    with pytest.raises(ConfigError, match="weighs documents, and this task finds entities"):
        Fair()._read(entities)
    with pytest.raises(ConfigError, match="got 'gendre'; did you mean gender"):
        Fair(attributes=["gendre"])._read(planted(tmp_path, 70))
    with pytest.raises(ConfigError, match="needs attributes that make subgroups .*, the corpus has none"):
        Fair()._read(task)
    for step in (-1, math.inf, math.nan):
        with pytest.raises(ConfigError, match=r"recover.step must be in \[0, inf\)"):
            Fair(step=step)
    with pytest.raises(ConfigError, match=r"must be a list, got 'gender'; write recover.attributes=\[gender\]"):
        Fair(attributes="gender")


def test_texts_of_a_transfer_set_have_no_subgroups(tmp_path: Path, tiny_model: Model) -> None:
    task = planted(tmp_path, 70)
    texts = TransferSet("key", ["sign1x1 filler3"])
    data = TaskData(task, tiny_model.tokenizer, 32, teacher_logits=torch.zeros(71, 4), transfer=texts)
    module = Teacher(tiny_model, data, Full(), FAST)
    with pytest.raises(ConfigError, match="the texts of a transfer set have none"):
        Fair(smallest=5).setup(Trainer(max_epochs=1, logger=False, accelerator="cpu"), module, "fit")


@pytest.mark.integration
def test_of_the_gap_that_plain_recovery_leaves_fair_recovery_leaves_less_and_costs_all_little(tmp_path: Path) -> None:
    """Pruned to 12 % of its weights, a network has room for the words of most; fair recovery gives the few theirs.

    How much is left differs by a factor of five between teachers of the same notes, so that three are taken.
    """
    task = planted(tmp_path, 3000)
    growth: dict[type[Finetune], list[float]] = {Finetune: [], Fair: []}
    loss: dict[type[Finetune], list[float]] = {Finetune: [], Fair: []}
    for seed in (1, 2, 3):
        place = tmp_path / str(seed)
        start = started(task, place / "start", seed)
        original = built(place / "teacher", task, start, {}, module=LEARNS, epochs=10, batch_size=16)
        prune = Unstructured(ratio=0.88, schedule=OneShot())
        pruned = built(place / "pruned", task, original, {"prune": prune}, module=LEARNS)
        for recovery in growth:
            method: Any = recovery(epochs=1, learning_rate=2e-3)
            own = place / recovery.__name__
            one = built(own, task, pruned, {"recover": method}, module=LEARNS, batch_size=16)
            lost = measure_degradation(task, original, one, "test", resamples=20)
            growth[recovery].append(lost.gaps["gender"].value)
            loss[recovery].append(lost.losses["micro_f1"].value)
        weights = {row.subgroup: row.weight for row in reported(one, "recover") if isinstance(row, SubgroupWeight)}
        assert weights["M"] > weights["F"]
    plain, fair = sum(growth[Finetune]), sum(growth[Fair])
    assert plain > 0.3 and fair < 0.75 * plain
    assert sum(loss[Fair]) - sum(loss[Finetune]) < 0.5 * (plain - fair)
