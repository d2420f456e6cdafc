"""What a stage said after every epoch is kept, read and reported; resumed or not."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from omegaconf import DictConfig
from support.pipelines import EVERY_EPOCH, artifacts, composed, finished
from support.reports import result

from clinlm.models.artifact import EPOCHS, Artifact
from clinlm.pipeline import execution
from clinlm.report import epochs
from clinlm.report.results import Lineage, ModelResult
from clinlm.tasks.base import Task

pytestmark = pytest.mark.usefixtures("quick")


class Trained:
    """A pipeline B with three epochs of training."""

    def __init__(self, notes: Path, root: Path) -> None:
        config: DictConfig = composed(
            notes, root, "pipeline=b", "epochs=3", "recover.epochs=2", "optimizer=adamw", EVERY_EPOCH
        )
        self.stages: dict[str, Artifact] = artifacts(finished(config))
        self.task: Task = execution.open_task(config)[0]


@pytest.fixture(scope="module")
def trained(notes_csv: Path, tmp_path_factory: pytest.TempPathFactory, quick: None) -> Trained:
    return Trained(notes_csv, tmp_path_factory.mktemp("trained") / "store")


def of(trained: Trained, name: str) -> ModelResult:
    return result(name, -1.0, lineage=Lineage(folder=str(trained.stages[name].folder)))


def test_stages_that_train_keep_every_epoch(trained: Trained) -> None:
    found = {name: epochs.has_epochs(one) for name, one in trained.stages.items()}
    assert found == {"teacher": True, "student": True, "prune_student": False, "recover_student": True}
    assert len(epochs.probabilities(trained.stages["teacher"], trained.task)) == 3
    assert len(epochs.probabilities(trained.stages["recover_student"], trained.task)) == 2
    assert EPOCHS in trained.stages["teacher"].record["files"]


def test_the_epoch_kept_said_what_the_artifact_says(trained: Trained) -> None:
    for name in ("teacher", "student", "recover_student"):
        artifact = trained.stages[name]
        kept = epochs.kept_epoch(artifact)
        assert kept is not None
        said = epochs.probabilities(artifact, trained.task)[kept - 1]
        for split in epochs.SPLITS:
            expected = trained.task.probabilities(artifact.predictions(split))
            np.testing.assert_allclose(said[split], expected, atol=1e-6)


def test_one_long_table(trained: Trained) -> None:
    stages = [of(trained, name) for name in ("teacher", "recover_student")]
    assert epochs.with_epochs([*stages, of(trained, "prune_student")]) == stages
    table = epochs.epoch_frame(trained.task, stages)
    labels = len(trained.task.examples.labels)
    assert len(table) == (3 + 2) * 2 * (labels + 1)
    of_one = table.filter((pl.col("stage") == "teacher") & (pl.col("split") == "test") & (pl.col("epoch") == 2))
    macro, each = of_one.filter(pl.col("label") == epochs.ALL), of_one.filter(pl.col("label") != epochs.ALL)
    for metric in ("precision", "recall", "f1"):
        assert macro[metric][0] == pytest.approx(each[metric].mean())
    assert table.filter("kept")["epoch"].n_unique() <= 2
    assert table.group_by("stage").agg(pl.col("epoch").filter("kept").n_unique())["epoch"].to_list() == [1, 1]


def test_the_last_epoch_as_a_row(trained: Trained) -> None:
    last = epochs.last_epoch(trained.task, of(trained, "teacher"))
    table = epochs.epoch_frame(trained.task, [of(trained, "teacher")])
    of_last = table.filter((pl.col("epoch") == 3) & (pl.col("split") == "test"))
    assert last.quality["macro_f1"] == of_last.filter(pl.col("label") == epochs.ALL)["f1"][0]
    assert [row["f1"] for row in last.per_label] == of_last.filter(pl.col("label") != epochs.ALL)["f1"].to_list()
