"""What a thousand notes take: seconds and money, of a labeler and of a model, with the day of the prices."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from clinlm.config.errors import ConfigError, DataError
from clinlm.labelers.base import LabeledNote
from clinlm.labelers.llm_prices import Prices, Usage, check_date

NOTES = 1000
"""Seconds, money and tokens are told for so many notes."""

_HOUR_S = 3600


@final
@dataclass(frozen=True)
class Machine:
    """What the machine costs on which something runs.

    Attributes:
        price_per_hour: money; at least 0.
        currency: of the price.
        priced_on: the day (YYYY-MM-DD) it was looked up; None only where it is 0.
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
    """What `NOTES` notes take, in the mean over those seen.

    Attributes:
        notes: that this was taken from; failed ones count, as they were paid for too.
        failed: notes among them without an answer.
        seconds: of the run, per `NOTES` notes; requests at once share their time.
        money: per `NOTES` notes, tokens and machine time together, in `currency`; 0 where nothing was priced.
        prompt_tokens, completion_tokens: per `NOTES` notes.
        currency: of the money; "" where nothing was priced.
        priced_on: the day of the prices, of the older ones where there are two; None where nothing was priced.
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
    """Return what a labeler takes.

    Args:
        labellings: its answers, one a note; those of earlier runs too, as they hold what they took.
        prices: of tokens, for what is billed by them.
        machine: that the labeler ran on, for what is billed by time.

    Raises:
        DataError: there is no answer.
        ConfigError: the two prices are in different currencies.
    """
    used = Usage(sum(one.prompt_tokens for one in labellings), sum(one.completion_tokens for one in labellings))
    seconds, failed = sum(one.seconds for one in labellings), sum(bool(one.failed) for one in labellings)
    return of_totals(len(labellings), failed, seconds, used, prices, machine)


def of_totals(
    notes: int, failed: int, seconds: float, used: Usage, prices: Prices | None = None, machine: Machine | None = None
) -> Economics:
    """Return what a labeler takes, from what all its answers took together; the rest as `of_labellings`.

    Args:
        notes: answered.
        failed: of them without an answer.
        seconds: of all of them.
        used: tokens of all of them.
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
    """Return what labelers take that all read the same notes.

    Raises:
        ValueError: there is none.
        ConfigError: they are priced in different currencies.
    """
    if not parts:
        raise ValueError("there must be at least one labeler, got none")
    currencies = sorted({one.currency for one in parts if one.currency})
    if len(currencies) > 1:
        raise ConfigError(f"prices must be in one currency, got {' and '.join(currencies)}; convert one")
    return Economics(
        notes=min(one.notes for one in parts),
        failed=max(one.failed for one in parts),
        seconds=sum(one.seconds for one in parts),
        money=sum(one.money for one in parts),
        prompt_tokens=sum(one.prompt_tokens for one in parts),
        completion_tokens=sum(one.completion_tokens for one in parts),
        currency="".join(currencies),
        priced_on=min((one.priced_on for one in parts if one.priced_on), default=None),
    )


def of_latency(mean_ms: float, notes: int, machine: Machine | None = None) -> Economics:
    """Return what a model takes that answers one note after the other.

    Args:
        mean_ms: per note, the mean and not the median, as a thousand notes take a thousand means; not negative.
        notes: that it was measured on.
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
    """Return how many times as long the other takes; infinity where this one takes no time."""
    return _ratio(other.seconds, one.seconds)


def times_cheaper(one: Economics, other: Economics) -> float:
    """Return how many times as much the other costs; infinity where this one is free, not a number where both are.

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
    """Currency and the oldest day of what costs something."""
    costly = [one for one in prices if one is not None and one.priced_on is not None]
    currencies = sorted({one.currency for one in costly})
    if len(currencies) > 1:
        raise ConfigError(f"prices must be in one currency, got {' and '.join(currencies)}; convert one")
    return (currencies[0] if currencies else "", min((one.priced_on for one in costly if one.priced_on), default=None))
