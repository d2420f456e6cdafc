"""Laws of the two kinds of tasks on labels: which documents serve, and what their losses and priors are."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from support.pipelines import composed
from support.reports import recorded
from torch import nn

from clinlm.corpora.table import Table
from clinlm.metrics.baseline import keyword_matches
from clinlm.report.baselines import KEYWORDS
from clinlm.report.evaluation import evaluate
from clinlm.tasks.base import Task
from clinlm.tasks.multiclass import MultiClass
from clinlm.tasks.multilabel import MultiLabel
from clinlm.text.long_notes import Head

pytestmark = pytest.mark.usefixtures("quick")
CORPUS = partial(Table, text="text", labels="labels", id="id", group="group", delimiter=";")


@pytest.fixture
def opened(notes_csv: Path, tmp_path: Path) -> Callable[..., Any]:
    def make(kind: type[Task], **settings: Any) -> Task:
        task = kind(CORPUS, str(notes_csv), Head(), max_tokens=32, **{"labels": 4} | settings)
        task.open(tmp_path / f"store-{kind.__name__}-{len(settings)}", "key")
        return task

    return make


def test_documents_have_exactly_one_of_the_labels(opened: Callable[..., Any], notes_csv: Path) -> None:
    task = opened(MultiClass)
    assert (task.examples.targets.sum(1) == 1).all()
    written = pl.read_csv(notes_csv)["labels"].str.split(";").list.len()
    assert len(task.examples.frame) == (written == 1).sum()
    assert f"{(written > 1).sum():,} of 60 notes dropped: not exactly one of the 4 labels" in task.examples.notices


def test_a_label_that_is_not_kept_does_not_count(opened: Callable[..., Any], notes_csv: Path) -> None:
    """With two labels, a document of one of them and a third has exactly one."""
    task = opened(MultiClass, labels=2)
    names = set(task.examples.labels)
    written = pl.read_csv(notes_csv)["labels"].str.split(";").to_list()
    assert len(task.examples.frame) == sum(len(names & set(own)) == 1 for own in written)


def test_loss_prior_and_probabilities_are_of_one_distribution(opened: Callable[..., Any]) -> None:
    task = opened(MultiClass)
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    classes = torch.tensor([0, 1, 2, 3, 0, 1])
    expected = nn.CrossEntropyLoss()(logits, classes)
    assert task.loss(logits, torch.eye(4)[classes]).item() == pytest.approx(expected.item())
    np.testing.assert_allclose(task.probabilities(logits.numpy()).sum(1), 1)
    counts = task.examples.targets[task.examples.members("train")].sum(0)
    np.testing.assert_allclose(task.prior().exp().numpy(), (counts + 1) / (counts.sum() + 4), rtol=1e-6)
    assert task.fit_thresholds(task.probabilities(logits.numpy())) is None


def test_nothing_left_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    path.write_text("id,group,text,labels\n" + "".join(f"n{i},p{i},note,a;b\n" for i in range(9)))
    with pytest.raises(ValueError, match="all 9 of the corpus were dropped: not exactly one of the 2 labels"):
        MultiClass(CORPUS, str(path), Head()).open(tmp_path / "store", "key")


def test_documents_without_a_label_are_dropped_or_negatives(opened: Callable[..., Any]) -> None:
    dropped, kept = opened(MultiLabel, labels=2), opened(MultiLabel, labels=2, unlabelled="keep")
    assert dropped.examples.targets.any(1).all() and len(kept.examples.frame) == 60
    gone = 60 - len(dropped.examples.frame)
    assert gone and f"{gone} of 60 notes dropped: none of the 2 labels kept" in dropped.examples.notices
    assert f"{gone} of 60 notes have none of the 2 labels: negatives of all" in kept.examples.notices
    with pytest.raises(ValueError, match="must be drop, keep or null"):
        opened(MultiLabel, unlabelled="maybe")


def test_one_label_keeps_its_negatives(opened: Callable[..., Any], tmp_path: Path) -> None:
    examples = opened(MultiLabel, labels=1).examples
    assert len(examples.frame) == 60 and 0 < examples.targets.sum() < 60
    with pytest.raises(ValueError, match="one label needs notes without it"):
        opened(MultiLabel, labels=1, unlabelled="drop")
    path = tmp_path / "t.csv"
    path.write_text("id,group,text,labels\n" + "".join(f"n{i},p{i},note {i},a\n" for i in range(9)))
    for kind in (MultiLabel, MultiClass):
        with pytest.raises(ValueError, match="must be absent from some note, got 'a' on all 9"):
            kind(CORPUS, str(path), Head()).open(tmp_path / kind.__name__, "key")


def test_documents_are_chosen_evenly_among_labels_and_none(opened: Callable[..., Any]) -> None:
    examples = opened(MultiLabel, labels=1, documents=20, unlabelled="keep").examples
    assert examples.targets.sum() == 10 == len(examples.frame) / 2


@pytest.mark.parametrize(("kind", "name"), [(MultiLabel, "pos_weight"), (MultiClass, "class_weight")])
def test_weights_of_labels_are_those_of_pytorch_and_scikit_learn(
    opened: Callable[..., Any], kind: type[Any], name: str
) -> None:
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    targets = torch.eye(4)[torch.tensor([0, 1, 2, 3, 0, 1])]
    task = opened(kind, **{name: "balanced"})
    counts = task.examples.targets[task.examples.members("train")]
    if kind is MultiClass:
        expected = compute_class_weight("balanced", classes=np.arange(4), y=counts.argmax(1))
        constant = torch.full((4,), 0.25).log()  # the best constant under these weights
        mean = nn.CrossEntropyLoss(weight=task.weights, reduction="none")(logits, targets).mean()
    else:
        expected = (~counts).sum(0) / counts.sum(0)
        constant = torch.zeros(4)
        mean = nn.BCEWithLogitsLoss(pos_weight=task.weights)(logits, targets)
    np.testing.assert_allclose(task.weights.numpy(), expected, rtol=1e-6)
    assert task.loss(logits, targets).item() == pytest.approx(mean.item())
    torch.testing.assert_close(task.prior(), constant, atol=0.15, rtol=0)
    torch.testing.assert_close(opened(kind, **{name: [1, 2, 3, 4.5]}).weights, torch.tensor([1, 2, 3, 4.5]))
    for wrong in ("even", [1, 0, 1, 1], [1, "x"]):
        with pytest.raises(ValueError, match=f"task.{name} must be balanced, null or a list"):
            opened(kind, **{name: wrong})
    with pytest.raises(ValueError, match=f"task.{name} must have a number for each of 4 labels, got 2"):
        _ = opened(kind, **{name: [1, 2], "seed": 0}).weights


def test_fewer_training_documents_than_asked_for_is_told(opened: Callable[..., Any]) -> None:
    told = [one for one in opened(MultiLabel, training_documents=1000).examples.notices if "requested" in one]
    assert told and "1,000 training documents" in told[0]


def test_keywords_by_hand() -> None:
    found = keyword_matches(["a;c", None, "b", "", "d"], ["a", "b", "c"])
    assert found.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_a_pipeline_of_multi_class_with_a_keyword_matcher(notes_csv: Path, tmp_path: Path) -> None:
    """The keywords of a document are an attribute of its record; here its labels, so all are right."""
    path = tmp_path / "notes.csv"
    pl.read_csv(notes_csv).with_columns(pl.col("labels").alias("keywords")).write_csv(path)
    columns = ("task.corpus.attributes=[keywords]", "task.class_weight=balanced", "epochs=1")
    config = composed(path, tmp_path / "store", "task=table_multiclass", *columns, "pipeline=a")
    run, task = recorded(config, resamples=20, latency_documents=2)
    rows, notices = evaluate([run], task, stages=True)
    by_name = {row.name: row for row in rows}
    assert [*by_name] == ["TF-IDF", "TF-IDF int8", KEYWORDS, "teacher", "student"]
    assert by_name[KEYWORDS].quality["accuracy"] == 1.0 and by_name[KEYWORDS].latency is None
    assert np.isnan(by_name[KEYWORDS].compression_bytes)
    (told,) = [notice for notice in notices if notice.startswith(KEYWORDS)]
    worse = [name for name, row in by_name.items() if row.quality["macro_f1"] < 1]
    assert all(name in told for name in worse) and worse
