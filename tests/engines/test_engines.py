"""Every engine answers as the network does, whatever was done to it, and its files hold what the network claims."""

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from support import families
from torch import nn

from clinlm.engines.base import ONNX, Engine, engine_names, find_engine, on_onnx
from clinlm.engines.export_checks import check_export
from clinlm.models.layers.base import Matrix
from clinlm.models.layers.half_embedding import HalfEmbedding
from clinlm.models.layers.half_linear import HalfLinear
from clinlm.models.layers.int4_linear import Int4Linear
from clinlm.models.layers.int8_embedding import Int8Embedding
from clinlm.models.layers.int8_linear import Int8Linear
from clinlm.models.layers.static_int8_linear import StaticInt8Linear
from clinlm.models.model import Edit, Model, ModelSpec, Network, PoolingName
from clinlm.models.surgery import keep_ffn_units, keep_heads

pytestmark = pytest.mark.usefixtures("graphs")
INSTALLED = [name for name in engine_names() if not find_engine(name).missing() and name != "folded"]
"""Those that run any encoder; test_folded.py has the same laws for convolutions."""
EXPORTING = [name for name in INSTALLED if not name.startswith("torch")]


def linears(network: nn.Module) -> list[str]:
    return [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]


def tables(network: nn.Module) -> list[str]:
    return [name for name, module in network.named_modules() if isinstance(module, nn.Embedding)]


def dynamic(network: Network) -> None:
    Int8Embedding.edit(tables(network))(network)
    Int8Linear.edit(linears(network))(network)


def static(network: Network) -> None:
    Int8Embedding.edit(tables(network))(network)
    for place, name in enumerate(linears(network)):
        parent, _, attribute = name.rpartition(".")
        linear = network.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        smooth = torch.linspace(0.5, 1.5, linear.in_features) if place % 2 else None
        setattr(network.get_submodule(parent), attribute, StaticInt8Linear.calibrated(linear, 0.05, 120, smooth))


def halves(network: Network) -> None:
    HalfEmbedding.edit(tables(network))(network)
    HalfLinear.edit(linears(network))(network)


def int4(network: Network) -> None:
    Int8Embedding.edit(tables(network))(network)
    Int4Linear.edit(linears(network), group_size=16)(network)


def uneven(network: Network) -> None:
    keep_ffn_units(network, {"0": [1, 4, 5], "2": [0, 2, 3, 7, 9]})
    keep_heads(network, {"1": [1]})


def pruned_and_static(network: Network) -> None:
    uneven(network)
    static(network)


def unchanged(network: Network) -> None:
    """Leave the network in float32."""


CHANGES = [unchanged, uneven, dynamic, static, int4, pruned_and_static]


def model(family: str, change: Callable[[Network], None], tiny: Model) -> Model:
    network = families.network(family)
    change(network)
    return Model(families.spec(family), network.eval(), tiny.tokenizer)


def exported(engine: Engine, made: Model, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    engine.export(made, folder)
    return folder


@pytest.mark.parametrize("name", EXPORTING)
@pytest.mark.parametrize(
    ("family", "change"),
    [*(("bert", change) for change in CHANGES), ("distilbert", static), ("electra_projected", unchanged)],
)
def test_an_engine_answers_as_the_network(
    family: str, name: str, change: Callable[[Network], None], tiny_model: Model, tmp_path: Path
) -> None:
    made, engine = model(family, change, tiny_model), find_engine(name)
    answer = engine.open(exported(engine, made, tmp_path), threads=1)
    ids, mask = families.rows(family)
    with torch.no_grad():
        expected = made.network(ids, mask)
        alone = made.network(ids[2:, :1], mask[2:, :1])
    largest = float(expected.abs().max())
    # A value that rounds to the next integer in one engine moves the rest a little; ONNX Runtime reads INT4 with inputs
    # of 8 bits.
    limit = 1e-4 if change in (unchanged, uneven) else 0.04
    np.testing.assert_allclose(answer(ids.numpy(), mask.numpy()), expected.numpy(), atol=limit * max(1, largest))
    np.testing.assert_allclose(
        answer(ids[2:, :1].numpy(), mask[2:, :1].numpy()), alone.numpy(), atol=limit * max(1, largest)
    )
    if not (name == "openvino" and change is dynamic):
        check_export(made.network, engine, tmp_path)


@pytest.mark.parametrize("change", [static, int4])
def test_one_file_serves_both_engines(change: Callable[[Network], None], tiny_model: Model, tmp_path: Path) -> None:
    """What `engine=auto` exports for OpenVINO has the weights, the products and the answers of OpenVINO's own files."""
    if "openvino" not in INSTALLED:
        pytest.skip("OpenVINO is not installed")
    made, engine = model("bert", change, tiny_model), find_engine("openvino")
    ids, mask = (rows.numpy() for rows in families.rows("bert"))
    own = engine.open(exported(engine, made, tmp_path / "own"), threads=1)(ids, mask)
    on_onnx(engine)
    shared = exported(engine, made, tmp_path / "shared")
    assert [path.name for path in shared.iterdir()] == [ONNX]
    np.testing.assert_allclose(engine.open(shared, threads=1)(ids, mask), own, atol=1e-5)
    assert engine.matrices(shared) == find_engine("openvino").matrices(tmp_path / "own")
    check_export(made.network, engine, shared)


@pytest.mark.parametrize("pooling", ["max", "max_mean", "label_attention"])
@pytest.mark.parametrize("name", EXPORTING)
def test_integers_around_pooling_are_those_of_the_network(
    name: str, pooling: PoolingName, tiny_model: Model, tmp_path: Path
) -> None:
    """OpenVINO quantised within the maximum, wrongly, so that most logits of a convolutional network were off."""
    shape = {"vocab_size": families.VOCABULARY, "embedding_size": 8, "widths": [3, 4], "filters": [5, 6]}
    opening = {"opening": 3 if pooling == "max_mean" else None}
    spec = ModelSpec({"model_type": "clinlm_text_cnn"} | shape | opening, outputs=3, pooling=pooling)
    network, generator = spec.build().eval(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    static(network)
    answer = find_engine(name).open(
        exported(find_engine(name), Model(spec, network, tiny_model.tokenizer), tmp_path), threads=1
    )
    ids, mask = families.rows("bert")
    with torch.no_grad():
        expected = network(ids, mask)
    np.testing.assert_allclose(answer(ids.numpy(), mask.numpy()), expected.numpy(), atol=0.05)


@pytest.mark.parametrize(
    "change", [unchanged, *(pytest.param(one, marks=pytest.mark.integration) for one in (static, halves))]
)
@pytest.mark.parametrize("name", EXPORTING)
def test_a_wide_branch_reads_further_than_the_network_beside_it(
    name: str, change: Callable[[Network], None], tiny_model: Model, tmp_path: Path
) -> None:
    """Rows shorter than the network's reach, and longer ones."""
    shape = {"vocab_size": families.VOCABULARY, "embedding_size": 8, "widths": [1, 3], "filters": [5, 6]}
    spec = ModelSpec({"model_type": "clinlm_text_cnn", "opening": 3} | shape, outputs=3, pooling="max_mean")
    made, generator = Model(spec, spec.build().eval(), tiny_model.tokenizer), torch.Generator().manual_seed(0)
    made.apply(Edit("clinlm.models.surgery.add_wide_branch", {"reach": 9, "share": 0.5}))
    with torch.no_grad():
        for parameter in made.network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    change(made.network)
    answer = find_engine(name).open(exported(find_engine(name), made, tmp_path), threads=1)
    lengths = torch.tensor([4, 9, 31])
    ids = torch.randint(0, families.VOCABULARY, (3, 31), generator=generator)
    mask = (torch.arange(31)[None] < lengths[:, None]).long()
    with torch.no_grad():
        expected = made.network(ids, mask)
    np.testing.assert_allclose(answer(ids.numpy(), mask.numpy()), expected, atol=1e-4 if change is unchanged else 0.05)
    alone = np.concatenate(
        [answer(ids[i : i + 1, :n].numpy(), mask[i : i + 1, :n].numpy()) for i, n in enumerate(lengths)]
    )
    np.testing.assert_allclose(alone, expected, atol=1e-4 if change is unchanged else 0.05)


@pytest.mark.parametrize("name", EXPORTING)
def test_products_of_static_int8_are_integers(name: str, tiny_model: Model, tmp_path: Path) -> None:
    made, engine = model("bert", static, tiny_model), find_engine(name)
    total = sum(isinstance(one, StaticInt8Linear) for one in made.network.modules())
    assert engine.integer_products(exported(engine, made, tmp_path / "int8")) >= total
    plain = model("bert", unchanged, tiny_model)
    assert engine.integer_products(exported(engine, plain, tmp_path / "float")) == 0


def test_openvino_does_not_pass_for_integers_what_it_multiplies_in_float(tiny_model: Model, tmp_path: Path) -> None:
    if "openvino" not in INSTALLED:
        pytest.skip("OpenVINO is not installed")
    made, engine = model("bert", dynamic, tiny_model), find_engine("openvino")
    exported(engine, made, tmp_path)
    with pytest.raises(RuntimeError, match="in 8 bits per weight, got 32|INT8 layers in integers"):
        check_export(made.network, engine, tmp_path)


@pytest.mark.parametrize("name", INSTALLED)
def test_a_claim_that_the_files_do_not_hold_is_refused(name: str, tiny_model: Model, tmp_path: Path) -> None:
    engine = find_engine(name)
    exported(engine, model("bert", unchanged, tiny_model), tmp_path)
    masked = families.network("bert")
    with torch.no_grad():
        masked.head.weight[:, ::2] = 0
    for claiming, law in (
        (pruned(), "must store .* matrices"),
        (quantised(static), "bits"),
        (quantised(int4), "bits|matrices"),
        (masked, "weights other than 0"),
    ):
        with pytest.raises(RuntimeError, match=law):
            check_export(claiming, engine, tmp_path)
    check_export(families.network("bert"), engine, tmp_path)


def pruned() -> Network:
    network = families.network("bert")
    uneven(network)
    return network


def quantised(how: Callable[[Network], None]) -> Network:
    network = families.network("bert")
    how(network)
    return network


@pytest.mark.parametrize("name", EXPORTING)
def test_bits_of_the_files(name: str, tiny_model: Model, tmp_path: Path) -> None:
    engine = find_engine(name)
    for change, bits in ((static, 8), (int4, 4)):
        folder = exported(engine, model("bert", change, tiny_model), tmp_path / change.__name__)
        total = len(linears(families.network("bert")))
        assert sum(one.bits == bits for one in engine.matrices(folder)) >= total


def test_a_matrix_says_its_smaller_side_first() -> None:
    assert Matrix.of(np.array([[1, 0, 2], [0, 0, 3]], dtype=np.int8)) == Matrix((2, 3), 8, 3)


def test_an_unknown_engine_is_named() -> None:
    with pytest.raises(ValueError, match="engine must be one of"):
        find_engine("tensorrt")


@pytest.mark.parametrize("name", EXPORTING)
def test_an_engine_tells_nobody_that_it_is_used(name: str) -> None:
    """In a process of its own: whoever connects, or starts a thread that would, is stopped."""
    code = (
        "import socket, threading\n"
        "def refuse(*a, **k): raise SystemExit('a connection was opened')\n"
        "socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse\n"
        "import urllib.request, urllib3.connectionpool as pool\n"
        "urllib.request.urlopen = pool.HTTPConnectionPool.urlopen = refuse\n"
        "import os; os.environ.pop('CI', None)\n"
        "import multiprocessing, sys\n"
        "multiprocessing.Process.start = refuse\n"
        f"from clinlm.engines.base import find_engine; find_engine('{name}').version()\n"
        "print([one for one in sys.modules if 'telemetry' in one and sys.modules[one] is not None])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told = [one for one in ast.literal_eval(done.stdout.splitlines()[-1]) if one.startswith("openvino_telemetry")]
    assert told == []
