"""Tables that stand for convolutions answer as the network, for every shape, pooling and quantisation."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import families
from torch import nn

from clinlm.config.errors import ModelError
from clinlm.engines.export_checks import check_export
from clinlm.engines.folded import Folded, check_foldable
from clinlm.models.layers.int4_linear import Int4Linear
from clinlm.models.layers.int8_embedding import Int8Embedding
from clinlm.models.layers.int8_linear import Int8Linear
from clinlm.models.layers.static_int8_linear import StaticInt8Linear
from clinlm.models.model import Edit, Model, ModelSpec, PoolingName

VOCABULARY = 40


def model_of(
    pooling: PoolingName, widths: list[int], opening: int | None, reach: int | None = None, seed: int = 0
) -> Model:
    """Return a convolution with random weights, of a different number of filters for every width.

    Args:
        reach: of the convolution beside a wide branch; None for no branch.
    """
    shape = {"vocab_size": VOCABULARY, "embedding_size": 16, "widths": widths, "opening": opening}
    filters = [16 + 4 * place for place, _ in enumerate(widths)]
    spec = ModelSpec({"model_type": "clinlm_text_cnn", "filters": filters} | shape, outputs=3, pooling=pooling)
    made = Model(spec, spec.build().eval(), None)  # type: ignore[arg-type]  # no text is read
    if reach is not None:
        made.apply(Edit("clinlm.models.surgery.add_wide_branch", {"reach": reach, "share": 0.4}))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return made


def linears(model: Model) -> dict[str, nn.Linear]:
    return {name: module for name, module in model.network.named_modules() if isinstance(module, nn.Linear)}


def tables(model: Model) -> list[str]:
    return [name for name, module in model.network.named_modules() if isinstance(module, nn.Embedding)]


def static(model: Model) -> None:
    model.apply(Int8Embedding.edit(tables(model)))
    for place, (name, linear) in enumerate(linears(model).items()):
        smooth = torch.linspace(0.5, 1.5, linear.in_features) if place % 2 else None
        model.apply(StaticInt8Linear.edit([name], smoothed=smooth is not None))
        made = StaticInt8Linear.calibrated(linear, 0.01, 120, smooth)
        model.network.get_submodule(name).load_state_dict(made.state_dict())


def dynamic(model: Model) -> None:
    model.apply(Int8Embedding.edit(tables(model)))
    model.apply(Int8Linear.edit([*linears(model)]))


def int4(model: Model) -> None:
    model.apply(Int8Embedding.edit(tables(model)))
    model.apply(Int4Linear.edit([*linears(model)], group_size=16))


def plain(model: Model) -> None:
    """Leave the network in float32."""


LIMITS: dict[Callable[[Model], None], float] = {plain: 1e-4, static: 1e-4, int4: 1e-4, dynamic: 0.05}
"""Largest difference of a logit, relative to the largest logit: only `dynamic` has a range for the whole row."""
SHAPES: Any = st.tuples(
    st.sampled_from(["max", "mean", "max_mean"]),
    st.lists(st.integers(1, 5), min_size=1, max_size=3),
    st.one_of(st.none(), st.integers(1, 9)),
    st.one_of(st.none(), st.integers(1, 9)),
    st.integers(0, 2**16),
)


@pytest.mark.parametrize("change", LIMITS)
@given(shape=SHAPES, lengths=st.lists(st.integers(1, 12), min_size=1, max_size=3))
@settings(max_examples=15)
def test_tables_answer_as_the_network(
    change: Callable[[Model], None],
    shape: tuple[PoolingName, list[int], int | None, int | None, int],
    lengths: list[int],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    model = model_of(*shape)
    change(model)
    folder, network = tmp_path_factory.mktemp("folded"), model.network
    Folded().export(model, folder)
    generator = torch.Generator().manual_seed(shape[-1])
    ids = torch.randint(0, VOCABULARY, (len(lengths), max(lengths)), generator=generator)
    mask = (torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]).long()
    with torch.no_grad():  # one at a time, as integers are read
        alone = [network(ids[i : i + 1, :n], mask[i : i + 1, :n])[0] for i, n in enumerate(lengths)]
    expected = torch.stack(alone).numpy()
    found = Folded().open(folder)(ids.numpy(), mask.numpy())
    np.testing.assert_allclose(found, expected, atol=LIMITS[change] * max(1, float(np.abs(expected).max())))
    check_export(network, Folded(), folder)


def test_what_is_no_convolution_is_refused_with_a_way_out() -> None:
    with pytest.raises(ModelError, match="runs model=text_cnn .* got BertModel with mean; use engine=onnxruntime"):
        check_foldable(families.network("bert"))
    with pytest.raises(ModelError, match="got TextCnnModel with none"):
        check_foldable(model_of("none", [1], None).network)


def test_tables_that_do_not_fit_are_refused() -> None:
    network = model_of("max", [3], None).network
    network.body.config.vocab_size = 10_000_000
    with pytest.raises(ModelError, match=r"may take 1 GiB, got 1\.8; use prune=vocabulary"):
        check_foldable(network)
