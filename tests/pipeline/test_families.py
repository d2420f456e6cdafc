"""The matrix of methods and encoder families: each does what it promises, or is refused before anything trains."""

import pytest
from support.method_matrix import CONFIGS, ENGINES, FAMILIES, METHODS, exported, outcome

from clinlm.models.families import TOKEN_PRUNABLE, UNCUTTABLE
from clinlm.models.model import Model
from clinlm.tasks.multilabel import MultiLabel

pytestmark = pytest.mark.usefixtures("quick")
_SOON = {
    ("modernbert", "prune=heads"),
    ("modernbert", "prune=magnitude"),
    ("deberta_v3", "quantize=dynamic"),
    ("deberta", "quantize=static"),
    ("mpnet", "prune=heads"),
    ("megatron", "hidden_state_loss=tinybert"),
    ("megatron", "prune=structured"),
    ("albert", "prune=depth"),
    ("convbert", "prune=heads"),
    ("bert", "prune=filters"),
    ("distilbert", "prune=tokens"),
    ("mpnet", "prune=tokens"),
}
"""Cells that every run of the tests tries."""
CUTTING = [
    f"prune={name}" for name in ("depth", "heads", "kprune", "magnitude", "random", "smart_griffin", "structured")
]
LONG = (pytest.mark.integration, pytest.mark.families)
CELLS = [
    pytest.param(family, method, marks=() if (family, method) in _SOON else LONG)
    for family in FAMILIES
    for method in METHODS
]


@pytest.mark.parametrize(("family", "method"), CELLS)
def test_a_method_on_a_family(family: str, method: str, task: MultiLabel, tiny_model: Model) -> None:
    refused = outcome(family, method, task, tiny_model.tokenizer)
    cuts = method.startswith(("hidden_state_loss=", "factorize=", "model@")) or method in CUTTING
    kind = CONFIGS[family]["model_type"]
    drops = method == "prune=tokens" and kind not in TOKEN_PRUNABLE
    assert bool(refused) == (method == "prune=filters" or drops or (cuts and kind in UNCUTTABLE)), refused


@pytest.mark.integration
@pytest.mark.families
@pytest.mark.usefixtures("graphs")
@pytest.mark.parametrize("integers", [False, True], ids=["float", "int8"])
@pytest.mark.parametrize("family", FAMILIES)
def test_an_engine_on_a_family(family: str, integers: bool) -> None:
    for engine in ENGINES:
        refused = exported(family, engine, integers)
        assert ("that torch exports to ONNX, LongformerModel has others" in refused) == (family == "longformer"), (
            refused
        )
        assert family == "longformer" or not refused
