"""The stress test of two artifacts: deterministic, of test documents, without a word of a note."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.pipelines import built, composed, kept
from support.reports import recorded

from callbacks.quantize.fp16 import Fp16
from clinlm.config.errors import ConfigError, MissingFileError
from clinlm.metrics.stress import MODELS
from clinlm.models.artifact import Artifact
from clinlm.models.model import Model
from clinlm.pipeline import execution
from clinlm.pipeline.run_record import RunRecord, read_run_file
from clinlm.report.baselines import BASELINES, tfidf
from clinlm.report.results import json_value
from clinlm.report.stress import stress_command, stress_markdown, stress_test
from clinlm.tasks.entities import Entities
from clinlm.tasks.multilabel import MultiLabel
from clinlm.text.perturbations import PERTURBATIONS

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def pair(task: MultiLabel, tiny_model: Model, tmp_path: Path) -> tuple[Artifact, Artifact]:
    start = kept(tiny_model, tmp_path / "start")
    original = built(tmp_path / "original", task, start, {}, epochs=1)
    return original, built(tmp_path / "compressed", task, original, {"quantize": Fp16()})


def test_a_model_in_half_precision_answers_changed_notes_as_its_original(
    task: MultiLabel, pair: tuple[Artifact, Artifact], entities: Entities
) -> None:
    found = stress_test(task, *pair, seed=3, resamples=50)
    assert [*found] == [*PERTURBATIONS] and found["truncation"] is not None and found["truncation"].documents > 10
    for name, own in found.items():
        assert own is None or (own.more is None) is (not PERTURBATIONS[name].keeps_labels)
        assert own is None or abs(own.changed_more.value) < 0.05
    again = stress_test(task, *pair, seed=3, resamples=50)
    assert json.dumps(json_value(again)) == json.dumps(json_value(found))
    text = stress_markdown(found, {"original": "teacher", "compressed": "quantize"}, "micro_f1", seed=3)
    notes = [word for note in task.examples.frame["text"].to_list() for word in note.split() if word.isalpha()]
    about = " ".join(own.about for own in PERTURBATIONS.values()).split()
    assert (
        not {word for word in notes if len(word) > 6} & ({*text.split()} - {*about})
        and text.count("| truncation |") == 1
    )
    assert all(f"- {name}: " in text for name in PERTURBATIONS)
    with pytest.raises(ConfigError, match="needs labels of documents, got Entities"):
        stress_test(entities, *pair)
    with pytest.raises(ConfigError, match="metric must be one of"):
        stress_test(task, *pair, metric="speed")


@pytest.mark.parametrize(
    ("words", "law"),
    [
        (["rum=x"], "did you mean run"),
        (["run=x", "seed=a"], "seed must be a whole number"),
        (["seed=1"], "missing required"),
        (["run=x", "resamples=0"], "resamples must be"),
    ],
)
def test_wrong_settings_are_refused(words: list[str], law: str) -> None:
    with pytest.raises(ConfigError, match=law):
        stress_command(words)


def test_a_folder_without_a_run_is_refused_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="folder of a finished run, which holds run.json"):
        stress_command([f"run={tmp_path / 'none'}"])
    assert not (tmp_path / "none").exists()


@pytest.fixture(scope="module")
def run(notes_csv: Path, tmp_path_factory: pytest.TempPathFactory, quick: None) -> tuple[RunRecord, Path]:
    """A finished pipeline whose last stage is in half precision, and its folder."""
    root = tmp_path_factory.mktemp("stressed")
    config = composed(notes_csv, root / "store", "pipeline=quantization_fp16", "epochs=1")
    record, _ = recorded(config)
    (root / "run").mkdir()
    record.write(root / "run")
    return record, root / "run"


def test_the_command_writes_what_it_was_told(run: tuple[RunRecord, Path], tmp_path: Path) -> None:
    given = ("documents=12", "resamples=20", "seed=5", "metric=macro_f1", f"output={tmp_path / 'out'}", "stage=null")
    stress_command([f"run={run[1]}", *given])
    found = read_run_file(tmp_path / "out" / "stress.json")
    kept = ("original", "compressed", "baseline", "metric", "seed", "documents", "resamples")
    assert [found[name] for name in kept] == ["teacher", "quantize", "TF-IDF", "macro_f1", 5, 12, 20]
    assert {*PERTURBATIONS} == {*found} - {*kept}
    told = (tmp_path / "out" / "stress.md").read_text()
    assert all(f"| {words} |" in told for words in ("TF-IDF macro F1 %", "loss of TF-IDF", "changed of TF-IDF %"))
    assert {*found["truncation"]["changed"]} == {*MODELS}


def test_tfidf_does_not_mind_capitals(run: tuple[RunRecord, Path], tmp_path: Path) -> None:
    """Its terms are in lower case, so that it answers every note in capitals as in the report."""
    stress_command([f"run={run[1]}", "resamples=20", f"output={tmp_path}"])
    found = read_run_file(tmp_path / "stress.json")
    assert found["capitals"]["changed"]["baseline"]["value"] == 0 == found["capitals"]["loss"]["baseline"]["value"]
    task, key = execution.open_task_from(dict(run[0].task.settings), Path(run[0].store))
    measured = {name: tfidf(task, key, Path(run[0].store), "", name) for name in BASELINES}
    best = max(
        task.evaluate("validation", own.validation, own.thresholds).quality()["micro_f1"] for own in measured.values()
    )
    own = measured[found["baseline"]]
    assert task.evaluate("validation", own.validation, own.thresholds).quality()["micro_f1"] == best
    assert found["capitals"]["documents"] == len(task.examples.members("test"))
    whole = task.evaluate("test", own.test, own.thresholds).quality()["micro_f1"]
    assert found["capitals"]["quality"]["baseline"]["value"] == pytest.approx(whole)


@pytest.mark.parametrize(
    ("word", "law"), [("stage=teacher", "stage must be one of the compressed stages quantize, got 'teacher'")]
)
def test_a_refused_command_leaves_nothing(run: tuple[RunRecord, Path], tmp_path: Path, word: str, law: str) -> None:
    with pytest.raises(ConfigError, match=law):
        stress_command([f"run={run[1]}", f"output={tmp_path / 'out'}", word])
    assert not (tmp_path / "out").exists()


def test_a_run_that_keeps_test_closed_is_refused(run: tuple[RunRecord, Path], tmp_path: Path) -> None:
    replace(run[0], nested=True).write(tmp_path)
    with pytest.raises(ConfigError, match="nested=true, which keeps them closed"):
        stress_command([f"run={tmp_path}"])
