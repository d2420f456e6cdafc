"""Laws of the search for widths: a knapsack against brute force, costs against networks, tables against their timer."""

import copy
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.families import HIDDEN, LAYERS, PARAMETERS, UNITS, VOCABULARY, network, rows, spec

from clinlm.compression.costs import Architecture, ParameterCosts
from clinlm.compression.cutting import prune_to, select_parts
from clinlm.compression.importance import Importance
from clinlm.compression.knapsack import LayerOptions, Options, minimize_loss
from clinlm.compression.latency_table import Knots, LatencyTable, measure_table, monotone, monotone_surface
from clinlm.compression.search import candidate_sizes, grid_sizes, search, smallest_architecture
from clinlm.compression.target import Target
from clinlm.models import structure
from clinlm.models.layers.low_rank_embedding import principal_directions
from clinlm.models.model import Model, rebuild
from clinlm.models.size import count_parameters

families = pytest.mark.parametrize("family", PARAMETERS)
HEADS = 2


def importance(family: str, seed: int = 0) -> Importance:
    """Some importance of every part of a network of the family."""
    generator = torch.Generator().manual_seed(seed)
    factors = structure.low_rank_embedding(network(family).body)
    table = structure.word_embeddings(network(family).body).weight.detach()
    assert factors is None

    def some(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator) ** 3

    return Importance(
        [some(HEADS) for _ in range(LAYERS)],
        [some(UNITS) * (10.0**layer) for layer in range(LAYERS)],
        some(2 * LAYERS + 1, HIDDEN),
        some(table.shape[1]).sort(descending=True).values,
        principal_directions(table, torch.ones(len(table)))[0],
    )


def model(family: str, tokenizer: Any = None) -> Model:
    return Model(spec(family), network(family), tokenizer)


# The knapsack.

small = st.integers(0, 6)


@st.composite
def blocks(draw: st.DrawFn) -> Options:
    count = draw(st.integers(1, 3))
    costs = [draw(small) for _ in range(count)]
    return Options(np.arange(1, count + 1), np.array(costs, float), np.array([draw(small) for _ in costs], float))


@st.composite
def some_layers(draw: st.DrawFn) -> list[LayerOptions]:
    return [
        LayerOptions(draw(blocks()), draw(blocks()), float(draw(small)), float(draw(st.integers(0, 20))))
        for _ in range(draw(st.integers(1, 3)))
    ]


def every(layers: Sequence[LayerOptions]) -> list[tuple[float, float]]:
    """Cost and loss of every choice that leaves a layer."""
    ways: list[list[tuple[float, float, bool]]] = []
    for layer in layers:
        ours = [(0.0, layer.dropped, False)]
        for a, b in itertools.product(range(len(layer.attention.costs)), range(len(layer.ffn.costs))):
            cost = layer.attention.costs[a] + layer.ffn.costs[b]
            ours.append((float(cost), float(layer.attention.lost[a] + layer.ffn.lost[b] + layer.kept), True))
        ways.append(ours)
    return [
        (sum(one[0] for one in way), sum(one[1] for one in way))
        for way in itertools.product(*ways)
        if any(one[2] for one in way)
    ]


@settings(max_examples=150)
@given(some_layers(), st.integers(1, 30))
def test_the_knapsack_loses_least(layers: list[LayerOptions], budget: int) -> None:
    found = minimize_loss(layers, budget, buckets=budget)  # whole costs: nothing is rounded
    possible = [lost for cost, lost in every(layers) if cost <= budget]
    if not possible:
        assert found is None
        return
    assert found is not None and found[0] == min(possible)
    cost = lost = 0.0
    for layer, widths in zip(layers, found[1], strict=True):
        if widths is None:
            lost += layer.dropped
            continue
        a, b = widths[0] - 1, widths[1] - 1
        cost += layer.attention.costs[a] + layer.ffn.costs[b]
        lost += layer.attention.lost[a] + layer.ffn.lost[b] + layer.kept
    assert lost == found[0] and cost <= budget and any(found[1]), "the widths are those of the loss"


@settings(max_examples=50)
@given(some_layers(), st.floats(0.1, 30))
def test_a_budget_holds_whatever_is_rounded(layers: list[LayerOptions], budget: float) -> None:
    found = minimize_loss(layers, budget, buckets=37)
    if found is not None:
        spent = sum(
            layer.attention.costs[w[0] - 1] + layer.ffn.costs[w[1] - 1]
            for layer, w in zip(layers, found[1], strict=True)
            if w
        )
        assert spent <= budget * (1 + 1e-6)


def test_no_budget_is_no_network() -> None:
    one = Options(np.array([1]), np.array([1.0]), np.array([0.0]))
    assert minimize_loss([LayerOptions(one, one, 0.0, 1.0)], -1.0) is None


# Costs.


def unpredicted(family: str, wanted: Architecture) -> int:
    """Parameters that costs leave out: ModernBERT's first layer has no norm before attention, which its cost takes on
    trust when another layer comes first."""
    return wanted.hidden if family == "modernbert" and wanted.layers[0] is None else 0


@families
@settings(max_examples=8)
@given(data=st.data())
def test_parameters_are_predicted_exactly(family: str, data: st.DataObject) -> None:
    whole, known = model(family), importance(family)
    now = Architecture.read(whole.network)
    hidden, rank = data.draw(st.sampled_from(candidate_sizes(now, known, VOCABULARY)))
    layers = data.draw(
        st.lists(
            st.one_of(st.none(), st.tuples(st.integers(1, HEADS), st.integers(1, UNITS))),
            min_size=LAYERS,
            max_size=LAYERS,
        ).filter(any)
    )
    wanted = Architecture(hidden, rank, layers)
    costs, twice = ParameterCosts(whole.network), ParameterCosts(whole.network, 4, 1000)
    assert costs.total(now) == count_parameters(whole.network)
    prune_to(whole, select_parts(known, now, wanted), torch.ones(VOCABULARY))
    found = Architecture.read(whole.network)
    assert (found.hidden, found.rank) == (hidden, rank) and found.layers == [one for one in layers if one]
    short = unpredicted(family, wanted)
    assert costs.total(wanted) + short == count_parameters(whole.network)
    assert twice.total(wanted) + 4 * short == 4 * count_parameters(whole.network) + 1000
    assert ParameterCosts(whole.network).total(found) == count_parameters(whole.network), (
        "and again, from the smaller network"
    )
    replayed = rebuild(whole.spec, whole.edits).eval()
    replayed.load_state_dict(whole.network.state_dict())
    with torch.no_grad():
        ours = whole.network.eval()(*rows(family))
        assert ours.isfinite().all() and replayed(*rows(family)).equal(ours)


@families
@settings(max_examples=6)
@given(share=st.floats(0.1, 0.95), seed=st.integers(0, 99))
def test_a_budget_of_parameters_holds(family: str, share: float, seed: int) -> None:
    whole, known = model(family), importance(family, seed)
    now, costs = Architecture.read(whole.network), ParameterCosts(whole.network)
    budget = share * count_parameters(whole.network)
    least = smallest_architecture(now, known, costs, VOCABULARY)
    found = search(now, known, costs, VOCABULARY, budget)
    assert bool(found) == (least.cost <= budget) or budget < 1.02 * least.cost
    if found:
        best = found[0]
        assert best.cost <= budget and any(best.architecture.layers)
        prune_to(whole, select_parts(known, now, best.architecture), torch.ones(VOCABULARY))
        assert count_parameters(whole.network) == best.cost + unpredicted(family, best.architecture)
        more = search(now, known, costs, VOCABULARY, min(budget * 1.3, costs.total(now)))
        assert more[0].lost <= best.lost + 1e-6, "more room loses no more"


def test_widths_follow_importance() -> None:
    """The last layer's units are a hundred times more important than the first's, and of those it keeps more."""
    known, whole = importance("bert"), model("bert")
    now = Architecture.read(whole.network)
    found = search(now, known, ParameterCosts(whole.network), VOCABULARY, 0.6 * count_parameters(whole.network))
    units = [0 if layer is None else layer[1] for layer in found[0].architecture.layers]
    assert units == sorted(units) and len(set(units)) > 1


def test_a_factorised_network_is_searched_again() -> None:
    whole, known = model("bert"), importance("bert")
    now = Architecture.read(whole.network)
    prune_to(whole, select_parts(known, now, Architecture(HIDDEN, 8, now.layers)), torch.ones(VOCABULARY))
    again = Architecture.read(whole.network)
    tried = candidate_sizes(again, known, VOCABULARY)
    assert again.rank == 8 and tried[0] == (HIDDEN, 8) and {rank for _, rank in tried} <= {*range(1, 9)}
    prune_to(whole, select_parts(known, again, Architecture(8, 4, now.layers)), torch.ones(VOCABULARY))
    assert Architecture.read(whole.network) == Architecture(8, 4, now.layers)


@given(st.integers(1, 2000))
def test_shares_of_a_size(size: int) -> None:
    found = grid_sizes(size, (1, 0.5, 0.25, 1 / 16))
    assert found[0] == size and found == sorted(set(found), reverse=True) and found[-1] >= 1
    assert size < 64 or all(one % 8 == 0 for one in found[1:])


# Latency, of a machine that is made up.

KNOTS = Knots.of(hidden=64, heads=4, units=100, fewest=4)


def straight(one: Architecture) -> float:
    """Milliseconds on a machine whose costs are straight lines between the knots."""
    made = 1.0 + one.hidden / 64 + (0.25 if one.rank else 0.0)
    return made + sum(0.5 + one.hidden / 64 * (layer[0] * 0.3 + layer[1] * 0.01) for layer in one.layers if layer)


def test_the_table_is_what_was_timed() -> None:
    table = measure_table(KNOTS, 8, lambda probes: [straight(one) for one in probes])
    for hidden, heads, units, rank in itertools.product((8, 20, 64), (1, 2, 3, 4), (4, 40, 100), (None, 8)):
        one = Architecture(hidden, rank, [(heads, units), None, (1, 4)])
        assert table.total(one) == pytest.approx(straight(one))


@given(st.lists(st.floats(-1, 5), min_size=1, max_size=6))
def test_rising_values_rise_and_stay_where_they_did(values: list[float]) -> None:
    found = monotone(np.array(values))
    assert (np.diff(found) >= 0).all() and (found >= 0).all()
    fine = np.sort(np.abs(values))
    np.testing.assert_allclose(monotone(fine), fine)


@settings(max_examples=40)
@given(st.lists(st.lists(st.floats(0, 5), min_size=4, max_size=4), min_size=3, max_size=3))
def test_a_noisy_table_rises_in_both_directions(values: list[list[float]]) -> None:
    found = monotone_surface(np.array(values))
    assert (np.diff(found, axis=0) >= -1e-9).all() and (np.diff(found, axis=1) >= -1e-9).all()


def test_the_same_table_chooses_the_same() -> None:
    known, whole = importance("bert"), model("bert")
    now = Architecture.read(whole.network)
    noise = np.random.default_rng(0)
    knots = Knots.of(HIDDEN, HEADS, UNITS, 4)
    table = measure_table(knots, 4, lambda probes: [straight(one) * noise.uniform(0.9, 1.1) for one in probes])
    assert isinstance(table, LatencyTable)
    budget = 0.6 * table.total(now)
    found = search(now, known, table, VOCABULARY, budget)
    assert found == search(now, copy.deepcopy(known), table, VOCABULARY, budget) and found[0].cost <= budget


# Targets.


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("latency_ms:2.0", Target("latency_ms", 2.0, False)),
        ("bytes:4e6", Target("bytes", 4e6, False)),
        ("parameters:50%", Target("parameters", 0.5, True)),
    ],
)
def test_targets_are_read(text: str, found: Target) -> None:
    assert Target.of(text) == found


@pytest.mark.parametrize(
    "text", ["", "bytes", "bytes:", "bytes:-1", "size:3", "bytes:100%", "bytes:nan", "bytes:0", "bytes:inf"]
)
def test_wrong_targets_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="prune.target must be METRIC:NUMBER"):
        Target.of(text)


@given(st.floats(10, 1000), st.floats(0.05, 0.9), st.integers(1, 6))
def test_steps_take_the_same_factor_and_reach_the_target(now: float, share: float, steps: int) -> None:
    for target, remaining in (
        (Target("bytes", share, True), [steps] * steps),
        (Target("bytes", share * now, False), [steps - step for step in range(steps)]),
    ):
        costs = [now]
        for left in remaining:
            costs.append(target.goal(costs[-1], left))
        assert costs[-1] == pytest.approx(share * now)
        assert np.allclose(np.array(costs[1:]) / np.array(costs[:-1]), share ** (1 / steps))
