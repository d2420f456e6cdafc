"""Latency: the order of calls, the arithmetic of the summary and the hint of contention. No test asserts a time."""

import gc
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinlm.metrics import latency
from clinlm.metrics.latency import Latency, Phased, busy_share, measure, parted


class Clock:
    """A clock that only models move."""

    def __init__(self) -> None:
        self.now = 0
        self.calls: list[tuple[str, int]] = []

    def read(self) -> int:
        return self.now

    def model(self, name: str, ms_per_token: float) -> Callable[[int], None]:
        def run(tokens: int) -> None:
            self.calls.append((name, tokens))
            self.now += round(1e6 * ms_per_token * tokens)

        return run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("time.perf_counter_ns", made.read)
    return made


def test_summary(clock: Clock) -> None:
    tokens = list(range(1, 102))
    found = measure({"teacher": clock.model("teacher", 2.0), "student": clock.model("student", 0.5)}, tokens)
    teacher, student = found["teacher"], found["student"]
    assert (teacher.p50_ms, teacher.p90_ms, teacher.p99_ms) == pytest.approx((102, 182, 200))
    assert student.mean_ms == pytest.approx(25.5) and student.documents == 101
    assert (teacher.speedup, teacher.speedup_low, teacher.speedup_high) == (1, 1, 1)
    # Both take time in proportion to length, so the same documents give the same ratio in every resample.
    assert (student.speedup, student.speedup_low, student.speedup_high) == pytest.approx((4, 4, 4))


def test_the_reference_can_be_named(clock: Clock) -> None:
    found = measure({"a": clock.model("a", 1.0), "b": clock.model("b", 4.0)}, [5, 6, 7], reference="b")
    assert found["a"].speedup == pytest.approx(4) and found["b"].speedup == 1


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.integers(0, 30), st.data())
def test_groups_hold_every_model_once_and_the_reference_always(
    sizes: list[int], most: int, data: st.DataObject
) -> None:
    own = {f"m{number}": size for number, size in enumerate(sizes)}
    reference = data.draw(st.sampled_from([*own]))
    groups = parted(own, reference, most)
    assert [group[0] for group in groups] == [reference] * len(groups)
    assert [name for group in groups for name in group[1:]] == [name for name in own if name != reference]
    for group in groups:
        assert sum(own[name] for name in group) <= most or len(group) <= 2
    for group, (_, first, *_) in zip(groups, groups[1:], strict=False):
        assert sum(own[name] for name in (*group, first)) > most, "no group is smaller than it must be"


def test_models_take_turns(clock: Clock) -> None:
    models = {name: clock.model(name, 1.0) for name in "abc"}
    ticks: list[None] = []
    measure(models, list(range(1, 161)), warmup=0, passes=2, advance=lambda: ticks.append(None))
    size = latency.TURN + 2  # two answers that are not timed, then those that are
    turns = [clock.calls[start : start + size] for start in range(0, len(clock.calls), size)]
    assert len(turns) == 3 * 2 * 160 / latency.TURN and all(len({name for name, _ in turn}) == 1 for turn in turns)
    rounds = [turns[start : start + 3] for start in range(0, len(turns), 3)]
    for number, each in enumerate(rounds):
        begun = latency.TURN * number % 160
        assert {turn[0][0] for turn in each} == set("abc")
        for turn in each:
            assert [document for _, document in turn[2:]] == [*range(begun + 1, begun + latency.TURN + 1)]
            assert [document for _, document in turn[:2]] == [begun + latency.TURN, begun + 1]
    assert min(Counter(each[0][0][0] for each in rounds).values()) > 2
    assert len(ticks) == 320


def test_a_last_turn_may_be_short(clock: Clock) -> None:
    found = measure({"a": clock.model("a", 1.0)}, list(range(1, latency.TURN + 4)), warmup=0, passes=1)
    assert found["a"].documents == latency.TURN + 3 and found["a"].mean_ms == pytest.approx((latency.TURN + 4) / 2)


def test_warm_up_is_not_timed(clock: Clock) -> None:
    found = measure({"a": clock.model("a", 1.0)}, [3], warmup=4, passes=1)
    assert clock.calls == [("a", 3)] * 7 and found["a"].documents == 1


def test_one_disturbed_pass_does_not_show(clock: Clock) -> None:
    steady = clock.model("a", 1.0)

    def disturbed(tokens: int) -> None:
        steady(tokens)
        clock.now += 10**9 if len(clock.calls) <= 11 else 0

    found = measure({"a": disturbed}, list(range(1, 10)), warmup=0)
    assert found["a"].p99_ms < 10


def test_spread_holds_the_ratio() -> None:
    random = np.random.default_rng(0)
    seen = {"slow": random.gamma(2, 10, 200), "fast": random.gamma(2, 3, 200)}
    value, low, high = latency._speedups(seen, "slow", random)["fast"]
    assert low < value < high and value == pytest.approx(np.median(seen["slow"]) / np.median(seen["fast"]))


def test_share_of_others() -> None:
    before = latency._Clock(wall=10.0, own=1.0, machine=100.0, cores=4)
    # In 5 s of 4 cores 12 s of work were done, 4 s of them ours.
    assert before.busy(latency._Clock(15.0, 5.0, 112.0, 4)) == pytest.approx(8 / 20)
    assert before.busy(latency._Clock(15.0, 5.0, 103.0, 4)) == 0
    assert before.busy(latency._Clock(10.1, 1.0, 101.0, 4)) is None
    assert before.busy(latency._Clock(15.0, 5.0, None, 4)) is None


def test_only_contention_disturbs() -> None:
    quiet = Latency(1.0, 1.0, 1.0, 1.0, 3, 1.0, 1.0, 1.0, 0.02)
    loud = Latency(1.0, 1.0, 1.0, 1.0, 3, 1.0, 1.0, 1.0, 0.351)
    unknown = Latency(1.0, 1.0, 1.0, 1.0, 3, 1.0, 1.0, 1.0)
    assert [own.disturbed for own in (quiet, loud, unknown)] == [False, True, False]
    assert busy_share([quiet, loud, unknown]) == 0.351 and busy_share([unknown]) is None and busy_share([]) is None


def test_the_network_is_timed_within_the_same_calls(clock: Clock) -> None:
    steps = [clock.model(name, ms) for name, ms in (("encode", 3.0), ("network", 2.0), ("decide", 1.0))]
    model: Phased[int, int, int] = Phased(
        lambda tokens: steps[0](tokens) or tokens,
        lambda tokens: steps[1](tokens) or tokens,
        lambda tokens, _: steps[2](tokens),
    )
    found = measure({"phased": model, "plain": clock.model("plain", 6.0)}, [1, 2, 3], warmup=0, passes=1)
    assert found["phased"].p50_ms == found["plain"].p50_ms == 12.0
    assert found["phased"].network_p50_ms == 4.0 and found["plain"].network_p50_ms is None
    assert clock.calls.count(("encode", 2)) == clock.calls.count(("plain", 2))


def test_garbage_collection_comes_back() -> None:
    def fail(_: int) -> None:
        raise RuntimeError("broken model")

    with pytest.raises(RuntimeError, match="broken"):
        measure({"a": fail}, [1], warmup=0)
    assert gc.isenabled()


def test_misfits_are_refused() -> None:
    def model(_: int) -> None:
        return None

    for models, inputs, reference in (({}, [1], None), ({"a": model}, [], None), ({"a": model}, [1], "b")):
        with pytest.raises(ValueError, match="reference"):
            measure(models, inputs, reference=reference)
    with pytest.raises(ValueError, match="passes"):
        measure({"a": model}, [1], passes=0)
