"""Laws over every method of conf/quantize/: it acts, once, in integers, and loads as it was saved."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from support.pipelines import built, composed, kept, reported
from torch import nn

from callbacks.quantize.base import Quantization
from clinlm.compression.sensitivity import quantizable_layers
from clinlm.config.errors import ModelError
from clinlm.config.validation import CONF
from clinlm.models import structure
from clinlm.models.artifact import Artifact
from clinlm.models.layers.base import IntegerLinear, reads_alone
from clinlm.models.layers.half_linear import HalfLinear
from clinlm.models.layers.int4_linear import Int4Linear
from clinlm.models.layers.int8_embedding import Int8Embedding
from clinlm.models.model import Model
from clinlm.models.size import count_parameters
from clinlm.tasks.data import TaskData
from clinlm.tasks.multilabel import MultiLabel
from clinlm.training.modules.base import predict

pytestmark = pytest.mark.usefixtures("quick")
METHODS = sorted(path.stem for path in CONF.glob("quantize/*.yaml") if path.stem != "none")
HALF = "fp16"
"""Has 11 bits of its own for every weight, so that no layer leaves another without levels."""
TRAINED = [name for name in METHODS if "epochs:" in (CONF / "quantize" / f"{name}.yaml").read_text(encoding="utf-8")]


def make(name: str, **settings: Any) -> Any:
    """Make the method of a yaml, with settings of our own."""
    if name in TRAINED:
        settings = {"epochs": 2, "learning_rate": 1e-3} | settings
    slots = {"distill": OmegaConf.load(CONF / "distill" / "mixture.yaml")}
    method = OmegaConf.merge(OmegaConf.load(CONF / "quantize" / f"{name}.yaml"), settings)
    return instantiate(OmegaConf.create(slots | {"quantize": method}).quantize)


@pytest.fixture
def start(tmp_path: Path, task: MultiLabel, tiny_model: Model) -> Artifact:
    return kept(tiny_model, tmp_path / "start")


def answers(model: Model, task: MultiLabel) -> Any:
    data = TaskData(task, model.tokenizer, model.max_tokens)
    return predict(
        model.network,
        data.loader(task.examples.members("test"), 1 if reads_alone(model.network) else 32),
        task.long_notes,
    )[1]


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, task: MultiLabel, _tiny_model: Model, quick: None
) -> dict[str, Artifact]:
    """What every method makes of one start, which is there as "start"."""
    root = tmp_path_factory.mktemp("made")
    found = {"start": kept(copy.deepcopy(_tiny_model), root / "start")}
    for name in METHODS:
        found[name] = built(root / name, task, found["start"], {"quantize": make(name)}, [found["start"]])
    return found


@pytest.mark.parametrize("name", METHODS)
def test_a_saved_model_answers_to_the_bit(task: MultiLabel, made: dict[str, Artifact], name: str) -> None:
    one, other, start = made[name].load(), made[name].load(), made["start"].load()
    np.testing.assert_array_equal(answers(one, task), made[name].predictions("test"))
    state = other.network.state_dict()
    assert all(tensor.equal(state[key]) for key, tensor in one.network.state_dict().items())
    assert not any(isinstance(m, nn.Linear | nn.Embedding) for m in one.network.modules())
    assert count_parameters(one.network) == count_parameters(start.network)


@pytest.mark.parametrize("name", METHODS)
def test_the_report_has_every_layer(made: dict[str, Artifact], name: str) -> None:
    rows = reported(made[name], "quantize")
    content = made[name].report["methods"]["quantize"]
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    layers = made["start"].load().network.named_modules()
    assert {row.layer for row in rows} == {key for key, m in layers if isinstance(m, nn.Linear | nn.Embedding)}
    assert all(row.bytes_after < row.bytes_before and 0 < row.relative_error < 0.2 for row in rows)


@pytest.mark.parametrize("name", METHODS)
def test_what_it_stores_are_integers(made: dict[str, Artifact], name: str) -> None:
    """Fake quantisation does not count: every matrix of the file on disk is of 16, 8 or 4 bits, and so small."""
    matrices = [tensor for tensor in made[name].load().network.parameters() if tensor.ndim > 1]
    kinds = (torch.int16,) if name == HALF else (torch.int8, torch.uint8)
    assert matrices and all(tensor.dtype in kinds for tensor in matrices)
    sizes = [(one.folder / "model.safetensors").stat().st_size for one in (made["start"], made[name])]
    assert sizes[1] < (0.55 if name == HALF else 0.5) * sizes[0]  # biases, norms and names stay


def test_half_precision_is_that_of_numpy(task: MultiLabel, made: dict[str, Artifact]) -> None:
    """Every weight is the nearest number of 16 bits, every product that of float32."""
    before, after = made["start"].load().network.state_dict(), made[HALF].load().network
    matrices = {name: own for name, own in after.state_dict().items() if own.dtype == torch.int16}
    assert len(matrices) == 4 * 6 + 1 + 3
    wide = {name: torch.from_numpy(before[name].numpy().astype(np.float16).astype(np.float32)) for name in matrices}
    assert all(own.view(torch.float16).float().equal(wide[name]) for name, own in matrices.items())
    own, plain = made[HALF].load(), made["start"].load()
    state = own.network.state_dict() | wide
    plain.network.load_state_dict(state)
    np.testing.assert_allclose(answers(own, task), answers(plain, task), atol=1e-5)


def test_a_weight_that_half_precision_cannot_hold_is_refused() -> None:
    linear = nn.Linear(2, 2)
    with torch.no_grad():
        linear.weight[0, 0] = 7e4
    with pytest.raises(ModelError, match="must be at most 65,504, got 70000; leave the layer out"):
        HalfLinear.from_float(linear)


@pytest.mark.parametrize("name", [name for name in METHODS if name != HALF])
def test_products_are_those_of_integers(made: dict[str, Artifact], name: str) -> None:
    """Inputs on whole levels: the product in int32, scaled once, is what the layer says."""
    generator = torch.Generator().manual_seed(0)
    layers = [m for m in made[name].load().network.modules() if isinstance(m, IntegerLinear | Int4Linear)]
    assert len(layers) == 4 * 6 + 1
    for layer in layers:
        if isinstance(layer, Int4Linear):
            assert layer.integers().abs().max() == 7
            continue
        scale = getattr(layer, "input_scale", torch.tensor(0.5))
        point = int(getattr(layer, "input_zero_point", 100))
        levels = torch.randint(0, 256, (6, layer.in_features), generator=generator, dtype=torch.int32)
        levels[0, 0], levels[1, 0] = 0, 255  # so that the dynamic layer finds the same levels
        sums = (levels - point).numpy() @ layer.weight.int().numpy().T
        assert sums.dtype == np.int32
        wanted = torch.from_numpy(sums) * (scale * layer.scale) + layer.bias
        smooth = getattr(layer, "smooth", None)
        inputs = (levels - point) * scale / (1 if smooth is None else smooth)
        torch.testing.assert_close(layer(inputs), wanted, rtol=1e-4, atol=1e-4 * float(wanted.detach().abs().max()))


@pytest.mark.parametrize("name", METHODS)
def test_it_is_refused_twice(tmp_path: Path, task: MultiLabel, made: dict[str, Artifact], name: str) -> None:
    with pytest.raises(ModelError, match="weights must be floats to train, prune or factorise"):
        built(tmp_path / "twice", task, made[name], {"quantize": make(name)}, [made["start"]])


@pytest.mark.parametrize("name", METHODS)
def test_what_is_skipped_or_spared_stays_float(tmp_path: Path, task: MultiLabel, start: Artifact, name: str) -> None:
    method = make(name, skip=["word_embeddings", "query"], spare=2)
    made = built(tmp_path / "made", task, start, {"quantize": method}, [start])
    left = {key for key, m in made.load().network.named_modules() if isinstance(m, nn.Linear | nn.Embedding)}
    rows = reported(made, "quantize")
    skipped = {key for key in left if key.endswith(("word_embeddings", "query"))}
    spared = {row.layer for row in rows if row.spared}
    assert len(skipped) == 5 and len(spared) == 2 and left == skipped | spared
    least = min(row.sensitivity for row in rows if row.spared)
    assert all(row.sensitivity <= least for row in rows if not row.spared)
    assert all(row.bytes_after == row.bytes_before for row in rows if row.spared)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in TRAINED and name != HALF])
def test_the_layer_that_suffers_most_is_spared(tmp_path: Path, task: MultiLabel, tiny_model: Model, name: str) -> None:
    """Two units of an FFN are always 1000 and cancel each other: in integers they leave the other units no levels."""
    layer = structure.layers(tiny_model.network.body)[3]
    with torch.no_grad():
        layer.down.weight.mul_(20)  # so that the layer matters
        layer.up.weight[:2], layer.up.bias[:2] = 0, 1000
        layer.down.weight[:, 0], layer.down.weight[:, 1] = 100, -100
    start = kept(tiny_model, tmp_path / "planted")
    settings = {"group_size": 48} if name == "int4" else {}
    made = built(tmp_path / "made", task, start, {"quantize": make(name, spare=1, **settings)})
    (spared,) = [row for row in reported(made, "quantize") if row.spared]
    assert spared.layer == "body.encoder.layer.3.output.dense" and spared.sensitivity > 0


def test_sparing_nothing_measures_nothing(
    tmp_path: Path, task: MultiLabel, start: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callbacks.quantize.base.layer_sensitivities", None)
    made = built(tmp_path / "made", task, start, {"quantize": make("dynamic")})
    assert {row.sensitivity for row in reported(made, "quantize")} == {None}


def test_every_method_names_its_technique() -> None:
    found = {name: make(name).technique for name in METHODS}
    assert set(found.values()) == {"post_training_quantization", "quantization_aware_training", "int4"}
    assert {name for name in METHODS if found[name] == "quantization_aware_training"} == set(TRAINED)
    assert all(isinstance(make(name), Quantization) for name in METHODS)


def test_nothing_can_be_chosen(notes_csv: Path, tmp_path: Path) -> None:
    assert composed(notes_csv, tmp_path / "store", "quantize=none").quantize is None


def test_a_column_of_weights_is_left(task: MultiLabel, tiny_model: Model) -> None:
    """A scale for every row would be more than the row."""
    method, network = make("dynamic"), nn.Module()
    network.one, network.two = nn.Embedding(9, 1, device="meta"), nn.Embedding(9, 8, device="meta")
    assert list(quantizable_layers(network, method.skip)) == ["two"]
    assert isinstance(Int8Embedding.from_float(nn.Embedding(9, 8)), Int8Embedding)


@pytest.mark.parametrize(
    ("name", "setting", "value", "message"),
    [
        ("dynamic", "spare", -1, "quantize.spare must be >= 0, got -1"),
        ("dynamic", "sensitivity_documents", 0, "quantize.sensitivity_documents must be >= 1, got 0"),
        ("static", "documents", 0, "quantize.documents must be >= 1, got 0"),
        ("static", "observer", "mean", "quantize.observer must be one of"),
        ("smoothquant", "alpha", 1.5, r"quantize.alpha must be in \[0, 1\], got 1.5"),
        ("int4", "group_size", 0, "quantize.group_size must be >= 1, got 0"),
        ("qat", "epochs", 0, "quantize.epochs must be >= 1, got 0; to train nothing use quantize=static"),
        ("qat", "freeze_at", 2, r"quantize.freeze_at must be in \[0, 1\], got 2"),
    ],
)
def test_wrong_settings_are_refused(name: str, setting: str, value: Any, message: str) -> None:
    with pytest.raises(InstantiationException, match=message) as raised:
        make(name, **{setting: value})
    assert isinstance(raised.value.__cause__, ValueError)
