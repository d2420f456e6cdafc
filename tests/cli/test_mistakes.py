"""What a user may type and cannot mean ends before anything is trained; what looks odd and is not works."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from support.pipelines import composed, finished

from clinlm.cli.preflight import check_settings
from clinlm.config.errors import ConfigError
from clinlm.config.placement import check_placement, count_devices, is_distributed
from clinlm.config.settings import compose
from clinlm.config.validation import refuse_monitor
from clinlm.metrics.classification import METRICS
from clinlm.models import structure
from clinlm.models.layers.low_rank_linear import LowRankLinear
from clinlm.pipeline.plan import plan

pytestmark = pytest.mark.usefixtures("quick")
BERT = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
DISTILBERT = {"dim": 32, "n_heads": 2, "n_layers": 2, "hidden_dim": 64}
RANK = ("factorize.rank=4", "recover.epochs=1")


@pytest.mark.parametrize("monitor", ["val/loss", "macro_f1", "val/macro_F1"])
def test_a_monitor_is_a_metric_of_which_more_is_better(monitor: str) -> None:
    refuse_monitor("val/macro_auroc", METRICS)
    with pytest.raises(ValueError, match="of which more is better, got"):
        refuse_monitor(monitor, METRICS)


@pytest.mark.parametrize(
    "overrides",
    [("pipeline=c", "prune=movement"), ("pipeline=pruning", "prune=unstructured", "schedule=cubic")],
    ids=lambda one: one[-1],
)
def test_gradual_pruning_without_training_is_refused_at_once(
    notes_csv: Path, tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    with pytest.raises(Exception, match="needs training, but its stage has epochs=0; .*pipeline=pruning_gradual"):
        plan(composed(notes_csv, tmp_path / "store", *overrides))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("task=synthetic", "model@student=wide", "long_notes=windows"), "reads a note in one row, got long_notes=win"),
        (("task=entities", "model@student=wide"), "model=wide works on documents, got a task on words"),
        (("task=entities", "pipeline=pruning", "prune=tokens"), "prune=tokens works on documents, got a task on words"),
        (("task=entities", "pipeline=pruning", "recover=fair"), "recover=fair works on documents, .*clinlm list recov"),
    ],
    ids=lambda one: one[-1] if isinstance(one, tuple) else "",
)
def test_what_a_task_cannot_have_is_refused_before_training(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_settings(compose("config", ["pipeline=distillation", *overrides]))
    check_settings(compose("config", ["pipeline=distillation", *overrides, "task=synthetic", "long_notes=head_tail"]))


def test_subgroups_of_a_transfer_set_are_refused_before_training() -> None:
    asked = ["pipeline=optimclm_pruning", "recover=fair", "augmentation=mixing"]
    check_settings(compose("config", asked))  # the student before it learns from the texts, and weighs nothing
    with pytest.raises(ConfigError, match=r"recover=fair weighs subgroups .*transfer set have none; .*augmentation"):
        check_settings(compose("config", [*asked, "+stages.recover_student.augmentation=${augmentation}"]))


def test_a_trainer_that_lightning_refuses_is_a_mistake(notes_csv: Path, tmp_path: Path) -> None:
    config = composed(notes_csv, tmp_path / "store", "pipeline=baseline", "trainer.accelerator=abacus")
    with pytest.raises(ConfigError, match="must suit this machine and Lightning: .*abacus"):
        finished(config)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("trainer.strategy=fsdp",), "trainer.strategy must be one of auto, ddp, got fsdp: .*set trainer=ddp"),
        (("trainer.strategy=ddp_spawn",), "got ddp_spawn"),
        (("trainer=ddp", "trainer.num_nodes=2"), "trainer.num_nodes must be 1, got 2"),
        (("trainer.devices=9",), "batch_size .*must be >= 9, .* got 8 in stage 'teacher'"),
        (("trainer=ddp", "trainer.devices=[0,1,2,3]", "student_batch_size=2"), "must be >= 4, .* got 2 in .*'student'"),
    ],
    ids=lambda one: one[-1] if isinstance(one, tuple) else "",
)
def test_devices_that_cannot_train_together_are_refused_at_once(
    notes_csv: Path, tmp_path: Path, overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_placement(composed(notes_csv, tmp_path / "store", *overrides))


@pytest.mark.parametrize(
    ("variables", "refused"),
    [
        ({"TORCHELASTIC_RUN_ID": "a"}, "TORCHELASTIC_RUN_ID"),
        ({"SLURM_PROCID": "1"}, "SLURM_PROCID"),
        ({"SLURM_PROCID": "0"}, ""),
    ],
    ids=["torchrun", "srun_n", "srun"],
)
def test_a_process_of_several_is_refused_at_once(
    notes_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], refused: str
) -> None:
    config = composed(notes_csv, tmp_path / "store", "trainer=ddp", "trainer.devices=2")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=f"must be started once .*got {refused}") if refused else nullcontext():
        check_placement(config)


@pytest.mark.parametrize(
    ("settings", "distributed", "devices"),
    [
        ({}, False, 1),
        ({"devices": 1, "strategy": "auto"}, False, 1),
        ({"devices": [3]}, False, 1),
        ({"devices": "3,"}, False, 1),
        ({"devices": "0,1"}, True, 2),
        ({"devices": "2"}, True, 2),
        ({"devices": [0, 2, 3]}, True, 3),
        ({"devices": "auto"}, True, None),
        ({"devices": -1}, True, None),
        ({"devices": 1, "strategy": "ddp"}, True, 1),
    ],
    ids=str,
)
def test_several_devices_are_told_from_one(settings: dict[str, Any], distributed: bool, devices: int | None) -> None:
    assert is_distributed(settings) == distributed
    assert count_devices(settings) == devices


def test_an_artifact_holds_no_checkpoint(notes_csv: Path, tmp_path: Path) -> None:
    """Where no callback of ours writes checkpoints, Lightning writes none of its own."""
    config = composed(notes_csv, tmp_path / "store", "pipeline=baseline", "~training.checkpoint", "epochs=1")
    (done,) = finished(config)
    assert not list(done.artifact.folder.rglob("*.ckpt"))


@pytest.mark.parametrize("architecture", ["bert", "distilbert"])
def test_low_rank_updates_of_factors_and_of_other_names(notes_csv: Path, tmp_path: Path, architecture: str) -> None:
    """Targets are roles: DistilBERT names its projections otherwise, and a factorised one is two matrices."""
    settings: tuple[str, ...] = (*RANK, "epochs=1")
    if architecture == "distilbert":
        settings += tuple(f"~teacher.config.{name}" for name in BERT)
        settings += tuple(f"+teacher.config.{name}={value}" for name, value in DISTILBERT.items())
        settings += ("teacher.config.model_type=distilbert",)
    svd = composed(notes_csv, tmp_path / "store", *settings, "pipeline=low_rank_svd", "adapter=lora", "adapter.r=2")
    network: Any = finished(svd)[-1].artifact.load().network
    names = [layer["query"] for layer in structure.linear_names(network.body)]
    assert all(isinstance(network.body.get_submodule(name), LowRankLinear) for name in names)
    low_rank = composed(notes_csv, tmp_path / "store", *settings, "pipeline=low_rank", "student_adapter.r=2")
    assert finished(low_rank)[-1].artifact.report["steps"] > 0


@pytest.mark.parametrize("method", ["prune.magnitude.Magnitude", "factorize.svd.Svd", "prune.depth.Depth"])
def test_what_is_masked_is_not_cut_in_the_same_stage(notes_csv: Path, tmp_path: Path, method: str) -> None:
    """Masks hold on to the matrices they were put on: a report of zeros in others would be a lie."""
    after = {"_target_": f"callbacks.{method}"} | ({"rank": 4} if "Svd" in method else {"ratio": 0.5})
    text = "{" + ",".join(f"{key}:{value}" for key, value in after.items()) + "}"
    overrides = ("pipeline=pruning", "prune=unstructured", "~stages.recover", f"+stages.prune.callbacks.then={text}")
    config = composed(notes_csv, tmp_path / "store", *overrides)
    with pytest.raises((ValueError, RuntimeError), match="masked linear layers|masks hold the linear layers"):
        finished(config)
