"""Laws of cascades: the row is of the answers of two rows, and the folder gives them to `clinlm predict`."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from support.pipelines import composed
from support.reports import QUICK, recorded

from clinlm.config.errors import ConfigError, ModelError
from clinlm.metrics.deferral import doubt
from clinlm.pipeline.run_record import RunRecord
from clinlm.predict.cascade import CASCADE, MEMBERS
from clinlm.predict.model_answerer import predict_file
from clinlm.predict.note_models import NoteModels
from clinlm.predict.settings import PredictSettings
from clinlm.report.baselines import BASELINES
from clinlm.report.cascades import CascadeSettings
from clinlm.report.evaluation import compare
from clinlm.report.results import ModelResult
from clinlm.store.content import RECORD
from clinlm.tasks.base import Task
from clinlm.tasks.inference_config import InferenceConfig

pytestmark = pytest.mark.usefixtures("quick")
SETTINGS = {"_target_": "clinlm.report.cascades.CascadeSettings", "loss": 0.0}


class Made:
    """A finished pipeline with a cascade, compared."""

    def __init__(self, notes: Path, root: Path) -> None:
        config = composed(notes, root, "pipeline=cascade", "epochs=1")
        self.run, self.task = recorded(config, cascade={**SETTINGS, "first": BASELINES[1], "second": "teacher"})
        self.compared = compare([self.run], self.task, stages=True)
        assert self.compared.cascade is not None
        self.folder = self.compared.cascade

    @property
    def row(self) -> ModelResult:
        return next(own for own in self.compared.results if own.kind == "cascade")


@pytest.fixture(scope="module")
def made(notes_csv: Path, tmp_path_factory: pytest.TempPathFactory, quick: None) -> Made:
    return Made(notes_csv, tmp_path_factory.mktemp("cascaded") / "store")


def answered(folder: Path, task: Task) -> list[dict[str, Any]]:
    rows = NoteModels(folder, None, 4096, None).answer(task.texts("test")).rows
    return [row for row in rows if row is not None]


def with_limit(made: Made, folder: Path, most_doubt: float) -> Path:
    """Return a copy of the cascade without its record, as one that was copied out, with another limit."""
    shutil.copytree(made.folder, folder, ignore=shutil.ignore_patterns(RECORD))
    facts = json.loads((folder / CASCADE).read_text())
    (folder / CASCADE).write_text(json.dumps(facts | {"most_doubt": most_doubt}))
    return folder


def test_the_row_stands_above_its_first_model_with_the_costs_of_both(made: Made) -> None:
    names = [own.name for own in made.compared.results]
    first, second = BASELINES[1], "teacher"
    assert names.index(made.row.name) == names.index(first) - 1
    each = [next(own for own in made.compared.results if own.name == name) for name in (first, second)]
    assert made.row.bytes == sum(own.bytes for own in each)
    assert made.row.parameters == sum(own.parameters for own in each) and made.row.reference == second
    assert made.row.latency is not None and made.row.validation and made.row.uncertainty is not None
    assert any(line.startswith(f"{made.row.name}: ") and "deferred to" in line for line in made.compared.notices)


def test_the_default_is_the_last_stage_and_then_the_teacher(made: Made) -> None:
    run = replace(made.run, report={**made.run.report, **QUICK, "cascade": {**SETTINGS, "metric": "macro_f1"}})
    found = compare([run], made.task, stages=True)
    last = made.run.stages[-1].name
    assert [own.name for own in found.results if own.kind == "cascade"] == [f"cascade ({last}, teacher)"]
    assert found.cascade is not None and found.cascade != made.folder
    assert len(answered(found.cascade, made.task)) == len(made.task.texts("test"))


def test_predict_answers_with_the_first_model_unless_it_is_in_doubt(made: Made, tmp_path: Path) -> None:
    labels = made.task.examples.labels
    each = [answered(made.folder / member, made.task) for member in MEMBERS]
    values = [np.array([[row["probabilities"][label] for label in labels] for row in own]) for own in each]
    doubts = doubt(values[0], InferenceConfig.load(made.folder / MEMBERS[0]).decide(values[0]))
    limit = float(np.median(doubts))
    deferred = doubts > limit
    assert deferred.any() and not deferred.all()
    found = answered(with_limit(made, tmp_path / "cascade", limit), made.task)
    assert [row["deferred"] for row in found] == deferred.tolist()
    for row, own, first, second in zip(found, deferred, *each, strict=True):
        assert row["probabilities"] == (second if own else first)["probabilities"]


def test_predictions_are_those_of_the_row(made: Made) -> None:
    labels, evaluation = made.task.examples.labels, made.compared.evaluations[made.row.name]
    found = answered(made.folder, made.task)
    decided = np.array([[label in row["labels"] for label in labels] for row in found])
    assert (decided == evaluation.decisions).all()


def test_a_limit_below_every_doubt_defers_all_and_none_above(made: Made, tmp_path: Path) -> None:
    for limit, expected in ((-1.0, True), (1e9, False)):
        found = answered(with_limit(made, tmp_path / str(expected), limit), made.task)
        assert {row["deferred"] for row in found} == {expected}


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
@pytest.mark.parametrize("second", [False, True], ids=["first", "shadow"])
def test_only_a_cascade_defers_when_two_models_answer(made: Made, tmp_path: Path, ending: str, second: bool) -> None:
    """A cascade beside a single model, on either side."""
    notes, output = tmp_path / "notes.csv", tmp_path / f"answers.{ending}"
    pl.DataFrame({"text": made.task.texts("test")[:5]}).write_csv(notes)
    pair = (made.folder / MEMBERS[0], made.folder)
    artifact, shadow = pair if second else reversed(pair)
    given = {"artifact": artifact, "shadow": shadow, "input": notes, "output": output, "threads": 1}
    predict_file(PredictSettings.of([f"{key}={value}" for key, value in given.items()]))
    read = {"csv": pl.read_csv, "parquet": pl.read_parquet, "jsonl": pl.read_ndjson}[ending]
    columns = read(output).columns
    assert [name for name in columns if name.endswith("deferred")] == ["shadow_deferred" if second else "deferred"]


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"most_doubt": "1"}', '{"most_doubt": NaN}'])
def test_a_broken_cascade_is_refused_by_name(made: Made, tmp_path: Path, content: str) -> None:
    folder = with_limit(made, tmp_path / "cascade", 1.0)
    (folder / CASCADE).write_text(content)
    with pytest.raises(ModelError, match=CASCADE):
        answered(folder, made.task)


def test_models_with_other_labels_are_refused(made: Made, tmp_path: Path) -> None:
    folder = with_limit(made, tmp_path / "cascade", 1.0)
    own = json.loads((folder / "serving.json").read_text())
    (folder / "serving.json").write_text(json.dumps(own | {"labels": [*reversed(own["labels"])]}))
    with pytest.raises(ModelError, match="must have its labels, first has others"):
        answered(folder, made.task)


def test_a_loss_is_a_share() -> None:
    with pytest.raises(ConfigError, match=r"loss must be in \[0, 1\)"):
        CascadeSettings(loss=-0.1)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"first": BASELINES[0]}, "cascade.first must name one of the rows .*, got 'TF-IDF'"),
        ({"first": "nothing"}, "cascade.first must name one of the rows .*, got 'nothing'"),
        ({"first": "teacher"}, "two rows of a task on whole notes, got teacher twice"),
        ({"metric": "size"}, "metric must be one of .*, got 'size'"),
    ],
)
def test_settings_that_cannot_be_are_refused(made: Made, settings: dict[str, Any], said: str) -> None:
    run: RunRecord = replace(made.run, report={**made.run.report, **QUICK, "cascade": {**SETTINGS, **settings}})
    with pytest.raises(ConfigError, match=said):
        compare([run], made.task, stages=True)
