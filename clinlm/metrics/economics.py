"""Cost of a thousand notes in seconds and money, for a labeler or a model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from clinlm.config.errors import ConfigError, DataError
from clinlm.labelers.base import LabeledNote
from clinlm.labelers.llm_prices import Prices, Usage, check_date

NOTES = 1000
"""Number of notes that seconds, money and tokens refer to."""

_HOUR_S = 3600


@final
@dataclass(frozen=True)
class Machine:
    """Price of the machine that a labeler or model runs on.

    Attributes:
        price_per_hour: money; at least 0.
        currency: of the price.
        priced_on: date of the price (YYYY-MM-DD); None only where it is 0.
    """

    price_per_hour: float = 0.0
    currency: str = "USD"
    priced_on: str | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.price_per_hour) and self.price_per_hour >= 0):
            raise ConfigError(f"price_per_hour must be finite and at least 0, got {self.price_per_hour}")
        if self.price_per_hour and self.priced_on is None:
            raise ConfigError("a price needs its date, got none; set priced_on to the day it was looked up")
        check_date(self.priced_on)


@final
@dataclass(frozen=True)
class Economics:
    """Mean cost of `NOTES` notes.

    Attributes:
        notes: number measured, including failed ones, as they were paid for.
        failed: notes without an answer.
        seconds: wall-clock time per `NOTES` notes; concurrent requests share it.
        money: tokens and machine time per `NOTES` notes, in `currency`; 0 where nothing is priced.
        prompt_tokens, completion_tokens: per `NOTES` notes.
        currency: of `money`; "" where nothing is priced.
        priced_on: date of the oldest price; None where nothing is priced.
    """

    notes: int
    failed: int
    seconds: float
    money: float
    prompt_tokens: float = 0.0
    completion_tokens: float = 0.0
    currency: str = ""
    priced_on: str | None = None


def of_labellings(
    labellings: Sequence[LabeledNote], prices: Prices | None = None, machine: Machine | None = None
) -> Economics:
    """Return the cost of a labeler.

    Args:
        labellings: its answers, one per note, including cached ones, which record their cost.
        prices: of tokens, for a service billed by token.
        machine: for a labeler billed by time.

    Raises:
        DataError: there is no answer.
        ConfigError: the two prices are in different currencies.
    """
    used = Usage(sum(own.prompt_tokens for own in labellings), sum(own.completion_tokens for own in labellings))
    seconds, failed = sum(own.seconds for own in labellings), sum(bool(own.failed) for own in labellings)
    return of_totals(len(labellings), failed, seconds, used, prices, machine)


def of_totals(
    notes: int, failed: int, seconds: float, used: Usage, prices: Prices | None = None, machine: Machine | None = None
) -> Economics:
    """Return the cost of a labeler from its totals; see `of_labellings`.

    Args:
        notes: number sent.
        failed: notes without an answer.
        seconds: total time.
        used: total tokens.
        prices, machine: see `of_labellings`.
    """
    if notes < 1:
        raise DataError("economics need at least one note, got none; label some first")
    share = NOTES / notes
    money = (prices.cost(used) if prices else 0.0) + (_rent(seconds, machine) if machine else 0.0)
    currency, priced_on = _priced(prices, machine)
    return Economics(
        notes=notes,
        failed=failed,
        seconds=seconds * share,
        money=money * share,
        prompt_tokens=used.prompt_tokens * share,
        completion_tokens=used.completion_tokens * share,
        currency=currency,
        priced_on=priced_on,
    )


def together(parts: Sequence[Economics]) -> Economics:
    """Return the total cost of labelers that read the same notes.

    Raises:
        ValueError: `parts` is empty.
        ConfigError: they are priced in different currencies.
    """
    if not parts:
        raise ValueError("there must be at least one labeler, got none")
    currencies = sorted({part.currency for part in parts if part.currency})
    if len(currencies) > 1:
        raise ConfigError(f"prices must be in one currency, got {' and '.join(currencies)}; convert one")
    return Economics(
        notes=min(part.notes for part in parts),
        failed=max(part.failed for part in parts),
        seconds=sum(part.seconds for part in parts),
        money=sum(part.money for part in parts),
        prompt_tokens=sum(part.prompt_tokens for part in parts),
        completion_tokens=sum(part.completion_tokens for part in parts),
        currency="".join(currencies),
        priced_on=min((part.priced_on for part in parts if part.priced_on), default=None),
    )


def of_latency(mean_ms: float, notes: int, machine: Machine | None = None) -> Economics:
    """Return the cost of a model from its latency, one note at a time.

    Args:
        mean_ms: mean (not median) time per note; >= 0.
        notes: number measured.
        machine: that it was measured on.

    Raises:
        DataError: the latency is negative or not finite, or nothing was measured.
    """
    if not (math.isfinite(mean_ms) and mean_ms >= 0) or notes < 1:
        raise DataError(f"latency must be >= 0 and measured on at least one note, got {mean_ms} ms on {notes}")
    seconds = mean_ms / 1000 * NOTES
    currency, priced_on = _priced(None, machine)
    return Economics(notes, 0, seconds, _rent(seconds, machine) if machine else 0.0, 0.0, 0.0, currency, priced_on)


def times_faster(one: Economics, other: Economics) -> float:
    """Return seconds of `other` / seconds of `one`; infinity where `one` takes none."""
    return _ratio(other.seconds, one.seconds)


def times_cheaper(one: Economics, other: Economics) -> float:
    """Return money of `other` / money of `one`; infinity where `one` is free, NaN where both are.

    Raises:
        ConfigError: both cost something, in different currencies.
    """
    if one.money and other.money and one.currency != other.currency:
        raise ConfigError(f"prices must be in one currency, got {one.currency} and {other.currency}; convert one")
    return _ratio(other.money, one.money)


def _ratio(over: float, under: float) -> float:
    if under:
        return over / under
    return math.inf if over else math.nan


def _rent(seconds: float, machine: Machine) -> float:
    return seconds / _HOUR_S * machine.price_per_hour


def _priced(*prices: Prices | Machine | None) -> tuple[str, str | None]:
    """Return the currency and the oldest date of the prices above 0."""
    costly = [price for price in prices if price is not None and price.priced_on is not None]
    currencies = sorted({price.currency for price in costly})
    if len(currencies) > 1:
        raise ConfigError(f"prices must be in one currency, got {' and '.join(currencies)}; convert one")
    dates = [price.priced_on for price in costly if price.priced_on]
    return "".join(currencies), min(dates, default=None)
