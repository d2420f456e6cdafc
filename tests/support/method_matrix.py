"""Every method on every encoder family: what comes of it, checked a second way, or why it is refused."""

import copy
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import torch
from hydra.utils import instantiate
from torch import Tensor, nn

from clinlm.compression.sensitivity import quantizable_layers
from clinlm.config.errors import ConfigError, ModelError
from clinlm.config.validation import CONF
from clinlm.engines.base import find_engine
from clinlm.engines.export_checks import check_export
from clinlm.models import structure
from clinlm.models.artifact import Artifact
from clinlm.models.initializers.base import sketched
from clinlm.models.initializers.from_teacher import FromTeacher
from clinlm.models.layers.base import IntegerLayer, reads_alone
from clinlm.models.layers.int8_embedding import Int8Embedding
from clinlm.models.layers.low_rank_linear import LowRankLinear
from clinlm.models.layers.static_int8_linear import StaticInt8Linear
from clinlm.models.model import Model, ModelSpec, Network
from clinlm.models.surgery import replace_module
from clinlm.tasks.base import Task
from clinlm.tasks.data import TaskData
from clinlm.training.modules.base import predict
from clinlm.training.stage_callback import StageCallback
from support import families
from support.pipelines import built, kept

GROUPS = ("prune", "factorize", "quantize", "hidden_state_loss")
METHODS = [
    f"{group}={path.stem}" for group in GROUPS for path in sorted(CONF.glob(f"{group}/*.yaml")) if path.stem != "none"
] + ["model@student=teacher_layers"]
ENGINES = ("onnxruntime", "openvino")
_MORE = {"prune=movement": ("schedule=cubic",), "factorize=svd": ("factorize.rank=2",)}
_OTHERS: dict[str, dict[str, Any]] = {
    "albert": {"embedding_size": 8},
    "big_bird": {"attention_type": "original_full"},
    "convbert": {"embedding_size": 16, "head_ratio": 1, "conv_kernel_size": 3},
    "deberta": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "longformer": {"attention_window": [8] * families.LAYERS, "pad_token_id": 1},
    "mobilebert": {"embedding_size": 8, "intra_bottleneck_size": 16, "true_hidden_size": 16}
    | {"num_feedforward_networks": 1},
}
CONFIGS = families.CONFIGS | {
    name: {"model_type": name} | families.CONFIGS["bert"] | {"model_type": name} | own for name, own in _OTHERS.items()
}
FAMILIES = list(CONFIGS)
REFUSALS = (ConfigError, ModelError)


def sized(family: str) -> ModelSpec:
    """Return the description of a network of the family for the vocabulary and rows of the test task."""
    shape = CONFIGS[family] | {"vocab_size": 150, "max_position_embeddings": 64}
    return ModelSpec(shape, outputs=4)


@cache
def _network(family: str) -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built_network = sized(family).build().eval()
        with torch.no_grad():
            for parameter in built_network.parameters():
                parameter.copy_(torch.randn_like(parameter) * 0.2 + (0.5 if parameter.ndim == 1 else 0))
    return built_network


def start(family: str, tokenizer: Any) -> Model:
    """Return a model of the family with random weights."""
    return Model(sized(family), copy.deepcopy(_network(family)), tokenizer)


def method(name: str) -> Any:
    """Return the callback or loss of `group=option`, with settings for tiny networks."""
    settings = _settings(name)
    small = {"ratio": 0.34} if "ratio" in settings else {}
    small |= {"epochs": 1} if name == "quantize=qat" else {}
    return instantiate(settings, **small)


@cache
def _settings(name: str) -> Any:
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose("config", [name, *_MORE.get(name, ())])[name.partition("=")[0]]


def refusal(family: str, name: str) -> str:
    """Return why a dry run of the method on shapes of the family refuses it; "" if it does not."""
    sketch = sketched(sized(family).config)
    try:
        _rehearse(method(name) if not name.startswith("model@") else None, sketch)
    except REFUSALS as error:
        return str(error)
    return ""


def outcome(family: str, name: str, task: Task, tokenizer: Any) -> str:
    """Return "" if the method does to the family what it promises; else why it is refused.

    The dry run on shapes must say the same.
    """
    told = refusal(family, name)
    try:
        _apply(family, name, method(name) if not name.startswith("model@") else None, task, tokenizer)
    except REFUSALS as error:
        assert told, f"the dry run lets pass what is refused: {error}"
        return str(error)
    assert not told, f"the dry run refuses what works: {told}"
    return ""


def _rehearse(found: Any, sketch: Model) -> None:
    if isinstance(found, StageCallback):
        found.dry_run(sketch)
        structure.check_trainable(sketch.network)
        found.dry_finish(sketch)
    elif found is None:
        FromTeacher(2).sketch(sketch)
    else:
        found.attach(sketch.network.body, sketch.network.body)


def _apply(family: str, name: str, found: Any, task: Task, tokenizer: Any) -> None:
    model = start(family, tokenizer)
    data = TaskData(task, tokenizer, 32)
    batch = data.collate(range(3))
    given = batch["input_ids"], batch["attention_mask"]
    if found is None:
        student = FromTeacher(2).begin(task, model)
        assert len(structure.layers(student.network.body)) == 2
        _same(student.network(*given), _without_layers(model.network, [0, 2])(*given))
    elif not isinstance(found, StageCallback):
        _check_loss(found, model, given)
    else:
        with tempfile.TemporaryDirectory() as place:
            parent = kept(model, Path(place) / "start")
            trains = {"epochs": 1} if found.needs_training else {}
            artifact = built(Path(place) / "built", task, parent, {"method": found}, **trains)
            refits = bool(trains) or name == "prune=kprune"
            _check_artifact(artifact, start(family, tokenizer).network, task, refits)


@torch.no_grad()
def _check_loss(loss: Any, model: Model, given: tuple[Tensor, Tensor]) -> None:
    student, teacher = copy.deepcopy(model.network).eval(), model.network.eval()
    loss.attach(student.body, teacher.body)
    with loss.watching(False) as ours:
        student(*given)
    with loss.watching(True) as theirs:
        teacher(*given)
    assert abs(float(loss(ours, theirs, given[1]))) < 1e-5, "a student that is its teacher has nothing to learn"
    with torch.no_grad():
        for parameter in student.body.parameters():
            parameter.mul_(0.7).add_(0.05)
    with loss.watching(False) as ours:
        student(*given)
    assert float(loss(ours, theirs, given[1])) > 1e-4


def _check_artifact(artifact: Artifact, before: Network, task: Task, refits: bool) -> None:
    model = artifact.load()
    data = TaskData(task, model.tokenizer, 32)
    loader = data.loader(task.examples.members("test"), 1 if reads_alone(model.network) else 32)
    answers = predict(model.network, loader, task.long_notes)[1]
    np.testing.assert_array_equal(answers, artifact.predictions("test"))
    assert np.isfinite(answers).all()
    edits = {edit.function.rpartition(".")[2]: edit.arguments for edit in model.edits}
    batch = data.collate(range(3))
    given = batch["input_ids"], batch["attention_mask"]
    if refits or edits.keys() & {"keep_hidden", "factorize_embeddings", "keep_tokens"}:
        return  # other weights: the laws of surgery and of the method check these
    _silence(before, edits)
    if any(isinstance(m, LowRankLinear) for m in model.network.modules()):
        _multiply_out(model.network)
        _same(model.network(*given), model.network(*given))
    if not edits:
        _same(model.network(*given), _masked_like(before, model.network)(*given))
    elif edits.keys() <= {"keep_heads", "keep_ffn_units", "keep_layers"}:
        kept_layers = edits.get("keep_layers", {}).get("numbers")
        reference = before if kept_layers is None else _without_layers(before, kept_layers)
        _same(model.network(*given), reference(*given))
    elif "quantize" in edits:
        near = _dequantized(model.network)(*given)
        assert torch.nn.functional.cosine_similarity(model.network(*given), near).min() > 0.98


def _same(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def _silence(network: Network, edits: Any) -> None:
    for number, units in edits.get("keep_ffn_units", {}).get("units", {}).items():
        down = structure.layers(network.body)[int(number)].down
        down.weight[:, [unit for unit in range(down.in_features) if unit not in units]] = 0
    for number, heads in edits.get("keep_heads", {}).get("heads", {}).items():
        layer = structure.layers(network.body)[int(number)]
        columns = torch.arange(layer.attention_output.in_features) // layer.head_size
        layer.attention_output.weight[:, ~torch.isin(columns, torch.tensor(heads))] = 0


class Silent(nn.Module):
    """A layer that hands on what it gets, in the form in which its family does."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.attention_type = layer, getattr(layer, "attention_type", None)

    def forward(self, hidden: Tensor, *rest: Any, **more: Any) -> Any:
        found = self.layer(hidden, *rest, **more)
        return (hidden, *found[1:]) if isinstance(found, tuple) else hidden


def _without_layers(network: Network, numbers: list[int]) -> Callable[..., Tensor]:
    silent = copy.deepcopy(network).eval()
    stack = structure.stack(silent.body)[1]
    for number in set(range(len(stack))) - set(numbers):
        stack[number] = Silent(stack[number])
    return silent


@torch.no_grad()
def _multiply_out(network: Network) -> None:
    for name, module in list(network.named_modules()):
        if isinstance(module, LowRankLinear):
            whole = nn.Linear(module.down.in_features, module.up.out_features, module.up.bias is not None)
            whole.weight.copy_(module.up.weight @ module.down.weight)
            if module.up.bias is not None:
                whole.bias.copy_(module.up.bias)
            replace_module(network, name, whole)


@torch.no_grad()
def _masked_like(network: Network, masked: Network) -> Network:
    theirs = dict(masked.named_parameters())
    for name, parameter in network.named_parameters():
        if name.endswith("weight") and name.startswith("body."):
            parameter.mul_(theirs[name] != 0)
    return network


@torch.no_grad()
def _dequantized(network: Network) -> Network:
    plain = copy.deepcopy(network)
    for name, module in list(plain.named_modules()):
        if isinstance(module, IntegerLayer) and module.replaces is nn.Embedding:
            table = nn.Embedding.from_pretrained(module.dequantized())
            replace_module(plain, name, table)
        elif isinstance(module, IntegerLayer):
            weight = module.dequantized()
            whole = nn.Linear(weight.shape[1], weight.shape[0], module.bias is not None)  # type: ignore[arg-type]
            whole.weight.copy_(weight)
            if module.bias is not None:
                whole.bias.copy_(module.bias)  # type: ignore[arg-type]
            replace_module(plain, name, whole)
    return plain


def exported(family: str, engine: str, integers: bool) -> str:
    """Return "" if an export of the family answers as torch, float or in static INT8; else why it is refused."""
    model = start(family, None)
    if integers:
        layers = quantizable_layers(model.network, ())
        linears = {name: layer for name, layer in layers.items() if isinstance(layer, nn.Linear)}
        model.apply(StaticInt8Linear.edit([*linears]))
        model.apply(Int8Embedding.edit([name for name in layers if name not in linears]))
        for name, linear in linears.items():
            calibrated = StaticInt8Linear.calibrated(linear, 9 / 127, 127)
            model.network.get_submodule(name).load_state_dict(calibrated.state_dict())
    found = find_engine(engine)
    pad = model.network.body.config.pad_token_id or 0  # type: ignore[union-attr]
    with tempfile.TemporaryDirectory() as place:
        try:
            found.export(model, Path(place))
            check_export(model.network, found, Path(place))
        except REFUSALS as error:
            return str(error)
        answer = found.open(Path(place), 1)
        for lengths in ([1], [9], [9, 4, 1], [20]):
            mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
            ids = torch.randint(5, 150, mask.shape, generator=torch.Generator().manual_seed(0))
            ids = torch.where(mask == 1, ids, torch.full_like(ids, pad))
            with torch.no_grad():
                wanted = model.network(ids, mask).numpy()
            np.testing.assert_allclose(answer(ids.numpy(), mask.numpy()), wanted, rtol=1e-3, atol=1e-3)
    return ""
