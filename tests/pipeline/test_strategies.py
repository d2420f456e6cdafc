"""The five strategies of S1 as pipelines: each runs from one teacher, and does what its name says."""

from pathlib import Path
from typing import Any

import pytest
import torch
from support.pipelines import composed, finished
from torch import nn

from clinlm.models.artifact import Artifact
from clinlm.pipeline.results import StageResult

pytestmark = pytest.mark.usefixtures("quick")
STRATEGIES = {
    "baseline": [],
    "distillation": ["student"],
    "low_rank": ["low_rank"],
    "low_rank_svd": ["factorize", "recover"],
    "pruning": ["prune", "recover"],
    "pruning_gradual": ["prune"],
    "quantization": ["quantize"],
}
SETTINGS = ("prune=unstructured", "prune.ratio=0.4", "distill=symptoms", "factorize.rank=4", "batch_size=8")
OWN = {"pruning_gradual": ("schedule=cubic",), "low_rank": ("student_adapter.r=2",)}
"""Settings of one strategy only."""


@pytest.fixture(scope="module")
def ran(notes_csv: Path, tmp_path_factory: pytest.TempPathFactory, quick: None) -> dict[str, list[StageResult]]:
    """Every strategy on one store."""
    root = tmp_path_factory.mktemp("strategies") / "store"
    settings = {name: (*SETTINGS, *OWN.get(name, ()), f"pipeline={name}") for name in STRATEGIES}
    return {name: finished(composed(notes_csv, root, *own)) for name, own in settings.items()}


def last(ran: dict[str, list[StageResult]], name: str) -> Artifact:
    return ran[name][-1].artifact


def linears(artifact: Artifact) -> list[nn.Linear]:
    return [module for module in artifact.load().network.body.modules() if isinstance(module, nn.Linear)]


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_shares_one_teacher(ran: dict[str, list[StageResult]], name: str) -> None:
    assert [one.name for one in ran[name]] == ["teacher", *STRATEGIES[name]]
    assert ran[name][0].artifact.key == ran["baseline"][0].artifact.key
    assert ran[name][0].cached == (name != "baseline")
    network = last(ran, name).load().network
    logits: Any = network(torch.randint(5, 90, (2, 7)), torch.ones(2, 7, dtype=torch.long))
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", ["pruning", "pruning_gradual"])
def test_pruning_is_exactly_as_sparse_as_it_says(ran: dict[str, list[StageResult]], name: str) -> None:
    """Forty of a hundred weights of the encoder's matrices, after training."""
    weights = [linear.weight for linear in linears(last(ran, name))]
    total, zeros = sum(w.numel() for w in weights), sum(int((w == 0).sum()) for w in weights)
    assert zeros == round(0.4 * total)
    report = last(ran, name).report
    assert report["parameters"] - report["nonzero"] >= zeros


def test_low_rank_updates_leave_the_rest_of_the_encoder_as_it_began(ran: dict[str, list[StageResult]]) -> None:
    """The update has rank 2 and stands in the attention projections; the FFN of two seeds' starts is the same."""
    tuned = last(ran, "low_rank").load().network
    settings = last(ran, "low_rank").record["settings"]
    assert (
        settings["adapter"]["r"] == 2 and settings["start"] == ran["baseline"][0].artifact.record["settings"]["start"]
    )
    assert last(ran, "low_rank").report["parameters"] == last(ran, "baseline").report["parameters"]
    assert sum(p.numel() for p in tuned.parameters()) == last(ran, "low_rank").report["parameters"]


@pytest.mark.parametrize("name", ["distillation", "low_rank_svd", "quantization"])
def test_what_claims_to_be_smaller_is_smaller_on_disk(ran: dict[str, list[StageResult]], name: str) -> None:
    assert last(ran, name).report["bytes"] < last(ran, "baseline").report["bytes"]


def test_factors_and_integers_are_counted_as_what_they_are(ran: dict[str, list[StageResult]]) -> None:
    whole = last(ran, "baseline").report["parameters"]
    assert last(ran, "low_rank_svd").report["parameters"] < whole
    assert last(ran, "quantization").report["parameters"] == whole
