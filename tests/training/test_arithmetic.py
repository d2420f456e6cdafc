"""The arithmetic of each feature: by hand, or a second time with loops."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from clinlm.training.hidden_state_losses.base import Part, States, attention_scores, squared
from clinlm.training.hidden_state_losses.distilbert import Distilbert
from clinlm.training.hidden_state_losses.minilm import Minilm, relation_divergence
from clinlm.training.hidden_state_losses.pkd import Pkd
from clinlm.training.hidden_state_losses.tinybert import Tinybert, squared_scores

KEEP = torch.tensor([[True, True, True], [True, True, False]])


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def states(width: int, parts: tuple[Part, ...], layers: int, seed: int) -> States:
    return {part: {n: random(2, 3, width, seed=seed + 10 * n + len(part)) for n in range(layers + 1)} for part in parts}


def test_patient_distance_by_hand() -> None:
    """First tokens (3, 4) and (0, 2): units (0.6, 0.8) and (0, 1); 0.36 + 0.04 = 0.4. Lengths do not count."""
    one = Pkd()
    one.pairs = one.matched(2, 2)
    student: States = {"hidden": {1: torch.tensor([[[3.0, 4.0], [9.0, 9.0]]])}}
    teacher: States = {"hidden": {1: torch.tensor([[[0.0, 2.0], [5.0, -5.0]]])}}
    keep = torch.ones(1, 2, dtype=torch.bool)
    assert float(one.difference(student, teacher, keep)) == pytest.approx(0.4)
    mean = Pkd(tokens="mean")
    mean.pairs = one.pairs  # sums (12, 13) and (5, -3)
    expected = 2 - 2 * (12 * 5 - 13 * 3) / (math.hypot(12, 13) * math.hypot(5, 3))
    assert float(mean.difference(student, teacher, keep)) == pytest.approx(expected, rel=1e-5)
    every = Pkd(tokens="all")
    every.pairs = one.pairs  # the second token is orthogonal: 2
    assert float(every.difference(student, teacher, keep)) == pytest.approx((0.4 + 2) / 2)


def test_which_layers_are_patient() -> None:
    """As in the paper's figure 1: 6 layers of 12."""
    assert Pkd("skip").matched(6, 12) == {"hidden": [(1, 2), (2, 4), (3, 6), (4, 8), (5, 10)]}
    assert Pkd("last").matched(6, 12) == {"hidden": [(1, 7), (2, 8), (3, 9), (4, 10), (5, 11)]}
    with pytest.raises(ValueError, match="a student of at least 2 layers"):
        Pkd().matched(1, 12)


def test_patient_distance_is_a_sum_over_layers() -> None:
    both = Pkd(tokens="all")
    student, teacher = states(4, ("hidden",), 3, 0), states(4, ("hidden",), 3, 100)
    both.pairs = both.matched(3, 3)
    total = 0.0
    for layer in (1, 2):
        terms = [
            (
                functional.normalize(student["hidden"][layer][r, t], dim=0)
                - functional.normalize(teacher["hidden"][layer][r, t], dim=0)
            )
            .square()
            .sum()
            for r, t in product(range(2), range(3))
            if KEEP[r, t]
        ]
        total += float(sum(terms)) / len(terms)
    assert float(both.difference(student, teacher, KEEP)) == pytest.approx(total, rel=1e-5)


def test_attention_scores_by_hand() -> None:
    """Two heads of size 1 of two tokens; the scale is the root of the size of a head."""
    query, key = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), torch.tensor([[[5.0, 6.0], [7.0, 8.0]]])
    assert attention_scores(query, key, 2).tolist() == [[[[5, 7], [15, 21]], [[12, 16], [24, 32]]]]
    torch.testing.assert_close(attention_scores(query, key, 1)[0, 0], query[0] @ key[0].T / 2**0.5)


def test_tinybert_a_second_way() -> None:
    """Layer by layer and number by number; the student has one head where the teacher has two."""
    one, width = Tinybert(), 4
    one.pairs = one.matched(1, 2)
    assert one.pairs == {"hidden": [(0, 0), (1, 2)], "query": [(1, 2)], "key": [(1, 2)]}
    one.embeddings, one.hidden = (torch.nn.Linear(2, width, bias=False).requires_grad_(False) for _ in "ab")
    parts: tuple[Part, ...] = ("hidden", "query", "key")
    student, teacher = states(2, parts, 1, 0), states(width, parts, 2, 100)
    for ours, theirs in (([1], [1, 2]), ([1], [2, 1])):
        one.heads = ours, theirs
        total = 0.0
        for (mine, its), map_ in zip(one.pairs["hidden"], (one.embeddings, one.hidden), strict=True):
            gaps = [
                (map_.weight[d] @ student["hidden"][mine][r, t] - teacher["hidden"][its][r, t, d]) ** 2
                for r, t, d in product(range(2), range(3), range(width))
                if KEEP[r, t]
            ]
            total += float(sum(gaps)) / len(gaps)
        gaps = []
        for r, a, b in product(range(2), range(3), range(3)):
            if KEEP[r, a] and KEEP[r, b]:
                mine_ = student["query"][1][r, a] @ student["key"][1][r, b] / 2**0.5
                size = width // theirs[1]
                each = [
                    teacher["query"][2][r, a, h * size : (h + 1) * size]
                    @ teacher["key"][2][r, b, h * size : (h + 1) * size]
                    / size**0.5
                    for h in range(theirs[1])
                ]
                gaps.append((mine_ - sum(each) / len(each)) ** 2)
        total += float(sum(gaps)) / len(gaps)
        assert float(one.difference(student, teacher, KEEP)) == pytest.approx(total, rel=1e-5)


def test_mean_squares_by_hand() -> None:
    """Gaps 1 and 3 over two kept tokens of one dimension: (1 + 9) / 2; of scores only pairs of kept tokens count."""
    keep = torch.tensor([[True, True, False]])
    a, b = torch.tensor([[[1.0], [3.0], [99.0]]]), torch.zeros(1, 3, 1)
    assert float(squared(a, b, keep)) == 5.0
    gaps = torch.tensor([[[[1.0, 2.0, 9.0], [0.0, 1.0, 9.0], [9.0, 9.0, 9.0]]]])
    assert float(squared_scores(gaps, torch.zeros_like(gaps), keep)) == (1 + 4 + 0 + 1) / 4
    two = torch.cat([gaps, torch.zeros_like(gaps)], 1)
    assert float(squared_scores(two, torch.zeros_like(two), keep)) == 6 / 8


def test_divergence_by_hand() -> None:
    """Teacher (1/2, 1/2), student (1/4, 3/4) for every token: ln 2 - ln(3) / 2 more exactly ln(2 / sqrt 3)."""
    keep = torch.tensor([[True, True, False]])
    student = torch.tensor([0.0, math.log(3.0), 50.0]).expand(1, 2, 3, 3)
    teacher = torch.tensor([0.0, 0.0, -50.0]).expand(1, 2, 3, 3)
    assert float(relation_divergence(student, teacher, keep)) == pytest.approx(math.log(2 / 3**0.5), rel=1e-5)


@pytest.mark.parametrize("relations", [("qq", "kk", "vv"), ("qk", "vv")])
def test_minilm_a_second_way(relations: tuple[str, ...]) -> None:
    """Relation by relation, head by head, token by token."""
    one = Minilm(relations)  # type: ignore[arg-type]
    one.pairs, one.heads = one.matched(1, 2), 2
    parts: tuple[Part, ...] = ("query", "key", "value")
    student, teacher = states(4, parts, 1, 0), states(6, parts, 2, 100)
    names: dict[str, Part] = {"q": "query", "k": "key", "v": "value"}
    total = 0.0
    for relation in relations:
        terms = []
        for r, h, t in product(range(2), range(2), range(3)):
            if not KEEP[r, t]:
                continue
            shares = []
            for seen, layer, size in ((student, 1, 2), (teacher, 2, 3)):
                first, second = (seen[names[x]][layer][r, :, h * size : (h + 1) * size] for x in relation)
                shares.append((first[t] @ second[KEEP[r]].T / size**0.5).softmax(0))
            terms.append((shares[1] * (shares[1] / shares[0]).log()).sum())
        total += float(sum(terms)) / len(terms)
    assert float(one.difference(student, teacher, KEEP)) == pytest.approx(total, rel=1e-4)


def test_cosines_by_hand() -> None:
    """Angles of 0 and 90 degrees, and one of padding: (0 + 1) / 2."""
    one = Distilbert()
    one.pairs, one.projection = one.matched(2, 3), torch.nn.Identity()
    student: States = {"hidden": {2: torch.tensor([[[1.0, 0.0], [0.0, 3.0], [5.0, 5.0]]])}}
    teacher: States = {"hidden": {3: torch.tensor([[[4.0, 0.0], [2.0, 0.0], [-5.0, 5.0]]])}}
    assert float(one.difference(student, teacher, torch.tensor([[True, True, False]]))) == pytest.approx(0.5)


def test_settings_are_checked() -> None:
    for make, told in (
        (lambda: Pkd(layers="first"), "hidden_state_loss.layers must be skip or last, got 'first'"),  # type: ignore[arg-type]
        (lambda: Pkd(tokens="cls"), "hidden_state_loss.tokens must be first, mean or all, got 'cls'"),  # type: ignore[arg-type]
        (lambda: Minilm(()), "some of qk, qq, kk and vv, each once"),
        (lambda: Minilm(("qq", "qq")), "each once"),
        (lambda: Minilm(("qv",)), "each once"),  # type: ignore[arg-type]
        (lambda: Minilm(relation_heads=0), "hidden_state_loss.relation_heads must be at least 1, or null, got 0"),
        (lambda: Minilm(teacher_layer=12).matched(3, 12), r"in -12 to 11 \(12 layers\), got 12"),
    ):
        with pytest.raises(ValueError, match=told):
            make()
