"""What a thousand notes take, computed by hand."""

import math

import pytest

from clinlm.labelers.base import LabeledNote
from clinlm.labelers.llm_prices import Prices
from clinlm.metrics.economics import Machine, of_labellings, of_latency, times_cheaper, times_faster

PRICES = Prices(prompt=2.5, completion=10.0, priced_on="2025-01-31")
ANSWERS = [LabeledNote(seconds=1.0, prompt_tokens=1000, completion_tokens=100), LabeledNote(seconds=3.0, failed="why")]


def test_tokens_and_seconds_of_two_notes_become_those_of_a_thousand() -> None:
    told = of_labellings(ANSWERS, PRICES)
    assert (told.notes, told.failed, told.seconds) == (2, 1, 2000.0)
    assert (told.prompt_tokens, told.completion_tokens) == (500_000.0, 50_000.0)
    assert told.money == pytest.approx(0.5 * 2.5 + 0.05 * 10.0)  # millions of tokens times their prices
    assert (told.currency, told.priced_on) == ("USD", "2025-01-31")


def test_time_costs_what_the_machine_costs_and_the_older_price_gives_the_day() -> None:
    machine = Machine(price_per_hour=1.8, priced_on="2024-12-01")
    told = of_labellings(ANSWERS, PRICES, machine)
    assert told.money == pytest.approx(1.75 + 2000 / 3600 * 1.8) and told.priced_on == "2024-12-01"
    model = of_latency(20.0, notes=50, machine=machine)
    assert model.seconds == 20.0 and model.money == pytest.approx(20 / 3600 * 1.8) and model.priced_on == "2024-12-01"
    assert times_faster(model, told) == 100.0
    assert times_cheaper(model, told) == pytest.approx(told.money / model.money)


def test_what_is_not_priced_costs_nothing_and_says_no_day() -> None:
    free = of_latency(20.0, notes=50)
    assert (free.money, free.currency, free.priced_on) == (0.0, "", None)
    assert times_cheaper(free, of_labellings(ANSWERS, PRICES)) == math.inf and math.isnan(times_cheaper(free, free))


def test_currencies_are_not_mixed() -> None:
    machine = Machine(1.0, "EUR", "2025-01-01")
    with pytest.raises(ValueError, match="EUR and USD"):
        of_labellings(ANSWERS, PRICES, machine)
    with pytest.raises(ValueError, match="one currency"):
        times_cheaper(of_latency(1.0, 1, machine), of_labellings(ANSWERS, PRICES))


def test_what_cannot_be_is_refused() -> None:
    for wrong in (lambda: of_labellings([]), lambda: of_latency(-1.0, 5), lambda: of_latency(math.nan, 5)):
        with pytest.raises(ValueError):
            wrong()
    for price in (
        lambda: Machine(1.0),
        lambda: Machine(-1.0, priced_on="2025-01-01"),
        lambda: Machine(1.0, priced_on="x"),
    ):
        with pytest.raises(ValueError):
            price()
