"""Laws of integer layers of any class: a new one, defined here only, is counted, edited, saved and checked as ours."""

from pathlib import Path
from typing import Self, final

import pytest
import torch
from support.families import network, rows, spec
from torch import Tensor, nn

from clinlm.config.errors import ModelError
from clinlm.engines.export_checks import check_export
from clinlm.engines.onnx_graph import export_onnx
from clinlm.engines.torch import Torch, integer_products, network_matrices
from clinlm.models import artifact
from clinlm.models.layers.base import IntegerLayer, Matrix
from clinlm.models.model import Edit, Model
from clinlm.models.size import count_nonzero, count_parameters, stored_bytes


@final
class Int16Linear(IntegerLayer):
    """A linear layer with 16-bit weights, one scale for all, multiplied in float."""

    bits = 16

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = nn.Parameter(torch.zeros(out_features, in_features, dtype=torch.int16), requires_grad=False)
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("bias", torch.zeros(out_features))

    @classmethod
    @torch.no_grad()
    def from_float(cls, linear: nn.Linear) -> Self:
        made = cls(linear.in_features, linear.out_features)
        made.scale.copy_(linear.weight.abs().max() / 32767)
        made.weight.copy_((linear.weight / made.scale).round())
        made.get_buffer("bias").copy_(linear.bias)
        return made

    def dequantized(self) -> Tensor:
        return self.weight * self.scale

    def forward(self, inputs: Tensor) -> Tensor:
        return nn.functional.linear(inputs, self.dequantized(), self.get_buffer("bias"))


@pytest.fixture
def made(tiny_model: Model) -> Model:
    model = Model(spec("bert"), network("bert").eval(), tiny_model.tokenizer)
    names = [name for name, module in model.network.named_modules() if isinstance(module, nn.Linear)]
    model.apply(Int16Linear.edit(names))
    return model


def test_a_new_layer_is_counted(made: Model) -> None:
    plain, layer = network("bert"), made.network.head
    assert isinstance(layer, Int16Linear)
    biases = sum(len(module.bias) for module in plain.modules() if isinstance(module, nn.Linear))
    assert count_parameters(made.network) == count_parameters(plain) - biases
    assert count_nonzero(layer) == int(layer.weight.count_nonzero())
    assert stored_bytes(layer) == 2 * layer.weight.numel() + 4 + 4 * layer.out_features
    low, high = sorted(layer.weight.shape)
    assert Matrix((low, high), 16, count_nonzero(layer)) in network_matrices(made.network)
    assert integer_products(made.network) == 0


def test_a_new_layer_is_saved_and_loaded(made: Model, tmp_path: Path) -> None:
    artifact.save(made, tmp_path)
    loaded = artifact.load(tmp_path)
    with torch.no_grad():
        answer = made.network(*rows("bert"))
        assert loaded.network(*rows("bert")).equal(answer)
        assert torch.allclose(answer, network("bert").eval()(*rows("bert")), atol=0.02)


def test_an_engine_that_runs_it_exports_it_and_onnx_refuses_it(made: Model, tmp_path: Path) -> None:
    Torch().export(made, tmp_path)
    check_export(made.network, Torch(), tmp_path)
    with pytest.raises(ModelError, match="Int16Linear has no ONNX form; use engine=torch"):
        export_onnx(made, tmp_path / "model.onnx")


def test_an_export_in_floats_is_refused(made: Model, tmp_path: Path) -> None:
    Torch().export(Model(made.spec, network("bert"), made.tokenizer), tmp_path)
    with pytest.raises(ModelError, match="in 16 bits per weight, got 32 bits"):
        check_export(made.network, Torch(), tmp_path)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("clinlm.models.layers.nowhere.Layer", "class clinlm.models.layers.nowhere.Layer was made by another version"),
        ("torch.nn.Linear", "torch.nn.Linear must be a subclass of IntegerLayer"),
        ("os.system", "os.system must be a subclass of IntegerLayer"),
    ],
)
def test_an_edit_builds_integer_layers_only(path: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Edit("clinlm.models.surgery.quantize", {"layer": path, "names": ["head"]})(network("bert"))
