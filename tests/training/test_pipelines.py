"""Every hidden-state loss, from the command line to an artifact; without one, nothing changes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY
from hydra.utils import instantiate
from omegaconf import OmegaConf
from support.pipelines import artifacts, composed, finished, reported

from clinlm.config.validation import CONF
from clinlm.models import artifact
from clinlm.models.initializers.base import Initializer
from clinlm.models.model import Model, ModelSpec
from clinlm.pipeline.gate_policy import judged_stages, techniques
from clinlm.pipeline.plan import plan
from clinlm.tasks.multilabel import MultiLabel

pytestmark = pytest.mark.usefixtures("quick")
NAMES = sorted(path.stem for path in CONF.glob("hidden_state_loss/*.yaml") if path.stem != "none")
NARROW = ("model@student=tinybert", "student.hidden_size=16", "student.heads=2", "student.intermediate_size=24")
SIZES: Mapping[str, tuple[str, ...]] = {"pkd": ("student.layers=2",)}
"""Settings of the student: narrow, but where hidden_state_loss refuse it."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store: the pipelines share their teacher."""
    return tmp_path_factory.mktemp("shared") / "store"


@pytest.mark.parametrize("name", NAMES)
def test_a_pipeline_imitates(name: str, notes_csv: Path, shared: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    sizes = SIZES.get(name, NARROW)
    settings = ("pipeline=general", f"hidden_state_loss={name}", "epochs=1", "general_epochs=1")
    done = artifacts(finished(composed(notes_csv, shared, *settings, *sizes)))
    assert list(done) == ["teacher", "general", "student"]
    for one in ("general", "student"):
        assert done[one].report["steps"] > 0
        loaded = artifact.load_network(done[one].folder)
        assert not [key for key in loaded.state_dict() if "hidden_state_loss" in key or "guess" in key]
    assert caplog.text.count("compares layers, student <- teacher: ") == 2


def test_the_student_goes_on_from_general_distillation(notes_csv: Path, shared: Path) -> None:
    """Without hidden_state_loss too: it then has no teacher, unless it begins from one."""
    done = artifacts(finished(composed(notes_csv, shared, "pipeline=general", *NARROW, "student_epochs=0")))
    assert (done["general"].folder / "model.safetensors").read_bytes() == (
        done["student"].folder / "model.safetensors"
    ).read_bytes()
    kept = reported(done["general"], "keep_best")[0]
    assert kept.monitor == "val/mlm_loss" and kept.epoch >= 0


def test_a_transfer_set_is_read_too(notes_csv: Path, shared: Path) -> None:
    """General distillation needs no labels: its epochs are longer by the texts of the transfer set. In bf16, too."""
    settings = ("pipeline=general", "hidden_state_loss=tinybert", *NARROW, "epochs=1", "general_epochs=1")
    done = artifacts(finished(composed(notes_csv, shared, *settings, "augmentation=mixing", "precision=bf16-mixed")))
    report, batches = done["general"].report, done["teacher"].report["steps"]
    assert report["transfer"]["texts"] > 0 and report["steps"] > batches


def test_none_is_in_no_key(notes_csv: Path, tmp_path: Path) -> None:
    """A configuration from before there were hidden_state_loss has the same settings, and so the same key."""
    config = composed(notes_csv, tmp_path / "store", "pipeline=a")
    before: dict[str, Any] = OmegaConf.to_container(config)  # type: ignore[assignment]
    del before["stages"]["student"]["module"]["hidden_state_loss"], before["hidden_state_loss"]
    for one, other in zip(plan(config), plan(OmegaConf.create(before)), strict=True):
        assert one.settings == other.settings and "hidden_state_loss" not in str(one.settings)


def test_a_gate_does_not_judge_what_answers_nothing_yet(notes_csv: Path, tmp_path: Path) -> None:
    stages = plan(composed(notes_csv, tmp_path / "store", "pipeline=general", "hidden_state_loss=minilm"))
    assert judged_stages(stages) == {"student"}
    assert techniques(stages) == {"teacher": (), "general": ("distillation",), "student": ("distillation",)}


def test_logits_alone_are_no_network(notes_csv: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="network"):
        plan(
            composed(
                notes_csv,
                tmp_path / "store",
                "pipeline=a",
                "hidden_state_loss=minilm",
                *NARROW,
                "stages.student.teachers=[tfidf]",
            )
        )


@pytest.mark.parametrize(
    ("name", "shape"),
    [("pkd", (6, 384, 12, 64)), ("tinybert", (4, 312, 12, 1200)), ("minilm_student", (6, 384, 12, 1536))],
)
def test_students_as_yaml(name: str, shape: tuple[int, ...], task: MultiLabel, tiny_model: Model) -> None:
    """The shapes of the papers, of a teacher large enough for them."""
    wide = {"hidden_size": 384, "num_hidden_layers": 7, "num_attention_heads": 12, "intermediate_size": 64}
    described = ModelSpec(TINY | wide | {"vocab_size": 150}, task.outputs)
    start: Initializer = instantiate(OmegaConf.load(CONF / "model" / f"{name}.yaml"))
    student = start.begin(task, Model(described, described.build(), tiny_model.tokenizer))
    told: Any = student.network.body.config
    assert (told.num_hidden_layers, told.hidden_size, told.num_attention_heads, told.intermediate_size) == shape
    assert student.tokenizer is tiny_model.tokenizer
