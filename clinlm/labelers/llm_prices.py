"""Tokens and their prices."""

import math
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple, final

from clinlm.config.errors import ConfigError

MILLION = 1_000_000


class Usage(NamedTuple):
    """Tokens of one request, or of several."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Return the sum of both."""
        return self.prompt_tokens + self.completion_tokens

    def plus(self, other: "Usage") -> "Usage":
        """Return the sum of two usages."""
        return Usage(self.prompt_tokens + other.prompt_tokens, self.completion_tokens + other.completion_tokens)


@final
@dataclass(frozen=True)
class Prices:
    """Prices of a provider per million tokens, without discounts (cached prompts, batches).

    Attributes:
        prompt: per million prompt tokens; at least 0.
        completion: per million completion tokens, hidden reasoning included; at least 0.
        currency: of both.
        priced_on: date (YYYY-MM-DD) of the prices; None only where both are 0.
    """

    prompt: float = 0.0
    completion: float = 0.0
    currency: str = "USD"
    priced_on: str | None = None

    def __post_init__(self) -> None:
        if not all(math.isfinite(price) and price >= 0 for price in (self.prompt, self.completion)):
            raise ConfigError(
                f"prices per million tokens must be >= 0, got prompt_price={self.prompt}, "
                f"completion_price={self.completion}"
            )
        if not self.free and self.priced_on is None:
            raise ConfigError("prices change, so they need a date; got none; set priced_on to the day you read them")
        check_date(self.priced_on)

    @property
    def free(self) -> bool:
        """Return whether tokens cost nothing."""
        return self.prompt == 0 and self.completion == 0

    def cost(self, usage: Usage) -> float:
        """Return the cost of these tokens, in `currency`."""
        return (self.prompt * usage.prompt_tokens + self.completion * usage.completion_tokens) / MILLION


def check_date(day: str | None) -> None:
    """Check that `day` is None or a date.

    Raises:
        ConfigError: it is neither.
    """
    if day is not None:
        try:
            date.fromisoformat(day)
        except ValueError:
            raise ConfigError(f"priced_on must be a date such as 2025-01-31, got {day!r}") from None
