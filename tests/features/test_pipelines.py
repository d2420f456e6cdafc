"""Every yaml of features, from the command line's configuration to an artifact; and without one, nothing changes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from pipelines import TINY, artifacts, composed, finished

from clinlm import artifact
from clinlm.plan import planned
from clinlm.settings import CONF
from clinlm.technique import judged, techniques

pytestmark = pytest.mark.usefixtures("quick")
NAMES = sorted(path.stem for path in CONF.glob("features/*.yaml") if path.stem != "none")
NARROW = ("model@student=tinybert", "student.hidden_size=16", "student.heads=2", "student.intermediate_size=24")
SIZES: Mapping[str, tuple[str, ...]] = {"pkd": ("student.layers=2",)}
"""Settings of the student: narrow, but where features refuse it."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store: the pipelines share their teacher."""
    return tmp_path_factory.mktemp("shared") / "store"


@pytest.mark.parametrize("pipeline", ["a", "general"])
@pytest.mark.parametrize("name", NAMES)
def test_a_pipeline_imitates(
    name: str, pipeline: str, notes_csv: Path, shared: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    sizes = SIZES.get(name, NARROW)
    settings = (f"pipeline={pipeline}", f"features={name}", "epochs=1", "general_epochs=1")
    done = artifacts(finished(composed(notes_csv, shared, *settings, *sizes)))
    assert list(done) == (["teacher", "general", "student"] if pipeline == "general" else ["teacher", "student"])
    for one in ("general", "student")[pipeline == "a" :]:
        assert done[one].report["steps"] > 0
        loaded = artifact.load_network(done[one].folder)
        assert not [key for key in loaded.state_dict() if "features" in key or "guess" in key]
    assert caplog.text.count("imitates, layer <- teacher's layer: ") == (2 if pipeline == "general" else 1)


def test_the_student_goes_on_from_general_distillation(notes_csv: Path, shared: Path) -> None:
    """Without features too: it then has no teacher, unless it begins from one."""
    done = artifacts(finished(composed(notes_csv, shared, "pipeline=general", *NARROW, "student_epochs=0")))
    assert (done["general"].folder / "model.safetensors").read_bytes() == (
        done["student"].folder / "model.safetensors"
    ).read_bytes()
    kept = done["general"].report["methods"]["keep_best"][0]
    assert kept["monitor"] == "val/mlm_loss" and kept["epoch"] >= 0


def test_a_transfer_set_is_read_too(notes_csv: Path, shared: Path) -> None:
    """General distillation needs no labels: its epochs are longer by the texts of the transfer set."""
    settings = ("pipeline=general", "features=minilm", *NARROW, "epochs=1", "general_epochs=1")
    alone, more = (
        artifacts(finished(composed(notes_csv, shared, *settings, f"transfer={transfer}")))
        for transfer in ("none", "mixing")
    )
    assert more["general"].report["steps"] > alone["general"].report["steps"]
    assert more["general"].report["transfer"]["texts"] > 0


def test_bf16(notes_csv: Path, shared: Path) -> None:
    settings = ("pipeline=general", "features=tinybert", *NARROW, "precision=bf16-mixed", "epochs=1")
    assert len(finished(composed(notes_csv, shared, *settings, "general_epochs=1"))) == 3


def test_none_is_in_no_key(notes_csv: Path, tmp_path: Path) -> None:
    """A configuration from before there were features has the same settings, and so the same key."""
    config = composed(notes_csv, tmp_path / "store", "pipeline=a")
    before: dict[str, Any] = OmegaConf.to_container(config)  # type: ignore[assignment]
    del before["stages"]["student"]["module"]["features"], before["features"]
    for one, other in zip(planned(config), planned(OmegaConf.create(before)), strict=True):
        assert one.settings == other.settings and "features" not in str(one.settings)


def test_a_gate_does_not_judge_what_answers_nothing_yet(notes_csv: Path, tmp_path: Path) -> None:
    stages = planned(composed(notes_csv, tmp_path / "store", "pipeline=general", "features=minilm"))
    assert judged(stages) == {"student"}
    assert techniques(stages) == {"teacher": (), "general": ("distillation",), "student": ("distillation",)}


def test_logits_alone_are_no_network(notes_csv: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="network"):
        planned(
            composed(
                notes_csv,
                tmp_path / "store",
                "pipeline=a",
                "features=minilm",
                *NARROW,
                "stages.student.teachers=[tfidf]",
            )
        )


@pytest.mark.parametrize("name", ["pkd", "tinybert", "minilm_student"])
def test_students_as_yaml(name: str, notes_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shapes of the papers, on a teacher large enough for them."""
    monkeypatch.setattr("pipelines.TINY", [one for one in TINY if not one.startswith("student.")])
    wide = (
        "teacher.config.hidden_size=384",
        "teacher.config.num_hidden_layers=7",
        "teacher.config.num_attention_heads=12",
    )
    config = composed(notes_csv, tmp_path / "store", "pipeline=a", f"model@student={name}", *wide, "epochs=0")
    student = artifacts(finished(config))["student"].load()
    told = student.network.body.config
    found = (told.num_hidden_layers, told.hidden_size, told.num_attention_heads, told.intermediate_size)  # type: ignore[union-attr]
    assert (
        found == {"pkd": (6, 384, 12, 64), "tinybert": (4, 312, 12, 1200), "minilm_student": (6, 384, 12, 1536)}[name]
    )
