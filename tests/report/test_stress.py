"""The stress test of two artifacts: deterministic, of test documents, without a word of a note."""

import json
from pathlib import Path

import pytest
from support.pipelines import built, kept

from callbacks.quantize.fp16 import Fp16
from clinlm.config.errors import ConfigError, MissingFileError
from clinlm.models.artifact import Artifact
from clinlm.models.model import Model
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
    text = stress_markdown(found, "teacher", "quantize", task, {"metric": "micro_f1"})
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
    ],
)
def test_wrong_settings_are_refused(words: list[str], law: str) -> None:
    with pytest.raises(ConfigError, match=law):
        stress_command(words)


def test_a_folder_without_a_run_is_refused_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="folder of a finished run, which holds run.json"):
        stress_command([f"run={tmp_path / 'none'}"])
    assert not (tmp_path / "none").exists()
