"""Laws of a stage, for every method that `conf/` knows: the artifact is the network, promises hold, seeds decide."""

import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import hydra
import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from lightning import Callback, LightningModule, Trainer
from support.pipelines import CPU, FAST, LABELS, built, composed, factory, kept, reported
from torch import nn

from callbacks.checkpoint import Checkpoint
from clinlm.config.validation import CONF
from clinlm.models import structure
from clinlm.models.adapters.lora import Lora
from clinlm.models.artifact import Artifact
from clinlm.models.initializers.from_teacher import FromTeacher
from clinlm.models.initializers.text_cnn import TextCnn
from clinlm.models.model import Model
from clinlm.pipeline.stage import Stage, measure_peak_mib
from clinlm.tasks.data import TaskData
from clinlm.tasks.multilabel import MultiLabel
from clinlm.training.distillation import Distillation
from clinlm.training.modules.base import Module, predict
from clinlm.training.modules.student import Student
from clinlm.training.modules.teacher import Teacher
from clinlm.training.promises import (
    CostTarget,
    FfnWidth,
    FilterCount,
    HeadCount,
    LayerKept,
    LayerShape,
    Sparsity,
    TokensKept,
    VocabularySize,
)
from clinlm.training.stage_callback import StageCallback

pytestmark = pytest.mark.usefixtures("quick")
PRUNE, RECOVER = ([path.stem for path in sorted(CONF.glob(f"{group}/*.yaml"))] for group in ("prune", "recover"))
RECOVER = [
    name for name in RECOVER if name not in ("none", "fair")
]  # no method; one that needs subgroups (test_fair.py)
IMITATE = factory(Student, adapter=Lora(r=2, alpha=4), optimizer=FAST, distill=Distillation())
_PEAK_MIB = measure_peak_mib


@pytest.fixture
def start(tmp_path: Path, tiny_model: Model) -> Artifact:
    return kept(tiny_model, tmp_path / "start")


def found(model: Model, rows: Sequence[Any]) -> bool:
    """Whether the network is what the report of a pruning method says: widths, heads, layers or zeros."""
    body = model.network.body
    layers = [] if isinstance(rows[0], FilterCount) else structure.layer_parts(body)
    match rows[0]:
        case CostTarget(layers_after=count, hidden_after=hidden):
            left = [row for row in rows[1:] if row.heads_after]
            shapes = [(layer.heads, layer.up.out_features) for layer in layers]
            reported_shapes = [(row.heads_after, row.units_after) for row in left]
            return len(layers) == count and structure.hidden_size(body) == hidden and shapes == reported_shapes
        case FilterCount():
            return [linear.out_features for linear in structure.filters(body)] == [row.filters_after for row in rows]
        case TokensKept():
            seen = tokens_left(model, 40)
            return seen == [-(-40 * row.percent // 100) for row in rows] and seen[-1] < 40
        case VocabularySize(tokens_after=tokens):
            return structure.word_embeddings(body).num_embeddings == tokens == len(model.tokenizer)
        case FfnWidth():
            return [layer.up.out_features for layer in layers] == [row.width_after for row in rows] == [36] * 4
        case LayerShape():
            shapes = [(layer.heads, layer.up.out_features) for layer in layers]
            return shapes == [(row.heads_after, row.units_after) for row in rows]
        case HeadCount():
            return [layer.heads for layer in layers] == [row.heads_after for row in rows]
        case LayerKept():
            return len(layers) == sum(row.kept for row in rows) == 3
        case Sparsity():
            linears = [m.weight for m in model.network.body.modules() if isinstance(m, nn.Linear)]
            return [int((w == 0).sum()) for w in linears] == [row.zeros for row in rows]
    raise AssertionError(f"a new kind of promise, {type(rows[0]).__name__}: check it here, a second way")


@torch.no_grad()
def tokens_left(model: Model, tokens: int) -> list[int]:
    """Over how many of so many tokens the last linear layer of every layer runs."""
    seen: list[int] = []
    downs = [layer.down for layer in structure.layer_parts(model.network.body)]
    handles = [down.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1])) for down in downs]
    model.network(torch.ones(1, tokens, dtype=torch.long), torch.ones(1, tokens, dtype=torch.long))
    for handle in handles:
        handle.remove()
    return seen


class Spy(Callback):
    """Keeps the networks that were trained."""

    def __init__(self) -> None:
        self.trained: list[nn.Module] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Lightning's hook."""
        assert isinstance(pl_module, Module)
        self.trained.append(pl_module.network)


def pruning(name: str) -> Any:
    """The method of a yaml; it takes a quarter away, where it lets one choose."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        settings = hydra.compose("config", [f"prune={name}"]).prune
    return instantiate(settings, **({"ratio": 0.25} if "ratio" in settings else {}))


@pytest.mark.parametrize("recover", RECOVER)
@pytest.mark.parametrize("prune", PRUNE)
def test_every_method_keeps_its_promises(
    tmp_path: Path, notes_csv: Path, task: MultiLabel, start: Artifact, tiny_model: Model, prune: str, recover: str
) -> None:
    if prune == "filters":  # those of a convolutional student
        start = kept(TextCnn(8, filters=8).begin(task, tiny_model), tmp_path / "convolution")
    config = composed(notes_csv, tmp_path / "store", f"recover={recover}", "recover.epochs=2")
    callbacks = {"prune": pruning(prune), "recover": instantiate(config.recover)}
    spy = Spy()
    artifact = built(tmp_path / "built", task, start, callbacks | {"spy": spy}, [start])
    trained = spy.trained
    model = artifact.load()
    # Law 2: what is loaded answers, bit for bit, as what was saved.
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, len(model.tokenizer), (5, 17), generator=generator)
    mask = torch.ones_like(ids)
    mask[1:, 9:] = 0
    with torch.no_grad():
        logits = model.network(ids, mask)
        assert torch.equal(logits, trained[0].eval()(ids, mask))
    assert all(torch.equal(t, trained[0].state_dict()[name]) for name, t in model.network.state_dict().items())
    # Law 4: what was promised holds after training in the same stage.
    assert found(model, reported(artifact, "prune"))
    # Law 8: everything is finite.
    assert logits.isfinite().all() and all(p.isfinite().all() for p in model.network.parameters())
    assert artifact.report["steps"] > 0
    data = TaskData(task, model.tokenizer, model.max_tokens)
    for split in ("validation", "test"):
        _, again = predict(model.network, data.loader(task.examples.members(split)), task.long_notes)
        np.testing.assert_array_equal(artifact.predictions(split), again)


def test_a_stage_that_trains_nothing_hands_on_what_it_got(tmp_path: Path, task: MultiLabel, start: Artifact) -> None:
    artifact = built(tmp_path / "built", task, start, {})
    assert (artifact.folder / "model.safetensors").read_bytes() == (start.folder / "model.safetensors").read_bytes()
    assert artifact.report["epochs"] == artifact.report["steps"] == 0
    counts = [(p.numel(), int((p != 0).sum())) for p in start.load().network.parameters()]
    assert (artifact.report["parameters"], artifact.report["nonzero"]) == tuple(map(sum, zip(*counts, strict=True)))


def test_seeds_decide_the_weights(tmp_path: Path, task: MultiLabel, start: Artifact) -> None:
    """Also where the teacher's logits were there already: the first of these stages computes them, the others read."""
    found = {}
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        artifact = built(tmp_path / name, task, start, {}, [start], IMITATE, epochs=1, seed=seed)
        found[name] = (artifact.folder / "model.safetensors").read_bytes()
    assert found["one"] == found["two"]
    assert found["one"] != found["other"]


@pytest.mark.parametrize(("batch_size", "accumulate"), [(1, 4), (4, 2), (7, 1)])
def test_accumulated_steps(tmp_path: Path, task: MultiLabel, start: Artifact, batch_size: int, accumulate: int) -> None:
    artifact = built(tmp_path / "built", task, start, {}, epochs=2, batch_size=batch_size, accumulate=accumulate)
    batches = -(-len(task.examples.members("train")) // batch_size)
    assert artifact.report["steps"] == 2 * -(-batches // accumulate)


def test_a_lora_update_is_merged(tmp_path: Path, task: MultiLabel, start: Artifact) -> None:
    module = factory(Teacher, adapter=Lora(r=2, alpha=4, targets=["query"]), optimizer=FAST)
    model = built(tmp_path / "built", task, start, {}, module=module, epochs=1).load()
    before = start.load().network.state_dict()
    after = model.network.state_dict()
    assert after.keys() == before.keys()
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert changed == {name for name in after if name.endswith("query.weight") or name.startswith("head.")}
    assert {type(m).__module__.partition(".")[0] for m in model.network.modules()} == {
        "torch",
        "transformers",
        "clinlm",
    }


# Teachers.


def test_who_asks_for_a_teacher() -> None:
    module, trainer = LABELS, CPU
    assert not Stage("student", module, trainer).needs_teacher
    cut = Stage("student", module, trainer, start=FromTeacher(1))
    assert cut.needs_teacher and not cut.needs_logits
    assert Stage("student", IMITATE, trainer, epochs=1).needs_logits
    assert not Stage("student", IMITATE, trainer).needs_logits, "nothing learns"
    asks, third_party = (type("Asks", (kind,), {"needs_teacher": True})() for kind in (StageCallback, Callback))
    assert Stage("student", module, trainer, callbacks={"some": asks}, epochs=1).needs_logits
    assert not Stage("student", module, trainer, callbacks={"some": third_party}, epochs=1).needs_logits, (
        "declares nothing"
    )


# What is refused.


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="a stage's role must be teacher or student, got 'pupil'"):
        Stage(cast(Any, "pupil"), LABELS, CPU)
    with pytest.raises(ValueError, match="a stage's epochs must be at least 0, got -1"):
        Stage("student", LABELS, CPU, epochs=-1)


def test_a_stage_begins_from_something(tmp_path: Path, task: MultiLabel) -> None:
    with pytest.raises(ValueError, match="must have an initializer or a parent artifact, got neither"):
        Stage("student", LABELS, CPU).build(task, tmp_path, None, [], None)


def test_an_artifact_is_whole(tmp_path: Path, start: Artifact) -> None:
    assert (start.key, start.stage) == ("start", "start")
    with pytest.raises(FileNotFoundError, match=r"an artifact must have a record.json, .* run its pipeline again"):
        Artifact(tmp_path)


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """Lightning ignores Ctrl+C from the first one on."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
def test_ctrl_c_leaves_a_stage_to_go_on_with(tmp_path: Path, task: MultiLabel, start: Artifact) -> None:
    class Stop(Callback):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        built(tmp_path / "built", task, start, {"stop": Stop(), "checkpoint": Checkpoint()}, epochs=3)
    assert {path.name for path in (tmp_path / "built").iterdir()} == {"last.ckpt", "last.ckpt.json"}


def test_memory_is_measured_in_a_process_of_its_own(start: Artifact) -> None:
    """One measurement does not hide the memory of the next, and one that fails is followed by others."""
    first = _PEAK_MIB(start.folder, 32)
    with pytest.raises(RuntimeError, match=r"memory of nothing cannot be measured: .*spec.json"):
        _PEAK_MIB(start.folder / "nothing", 32)
    assert 0 < first < 200 and _PEAK_MIB(start.folder, 32) == pytest.approx(first, rel=0.2, abs=4)
