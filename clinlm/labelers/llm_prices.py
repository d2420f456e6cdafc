"""Tokens, and what they cost."""

import math
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple, final

MILLION = 1_000_000


class Usage(NamedTuple):
    """Tokens of a request, or of many."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Both together."""
        return self.prompt_tokens + self.completion_tokens

    def plus(self, other: "Usage") -> "Usage":
        """Return the tokens of both."""
        return Usage(self.prompt_tokens + other.prompt_tokens, self.completion_tokens + other.completion_tokens)


@final
@dataclass(frozen=True)
class Prices:
    """What a provider asks for a million tokens. Discounts (cached prompts, batches) are not known to it.

    Attributes:
        prompt: money per million tokens read; at least 0.
        completion: money per million tokens written, hidden reasoning included; at least 0.
        currency: of both.
        priced_on: the day (YYYY-MM-DD) they were looked up; None only where both are 0.
    """

    prompt: float = 0.0
    completion: float = 0.0
    currency: str = "USD"
    priced_on: str | None = None

    def __post_init__(self) -> None:
        if not all(math.isfinite(price) and price >= 0 for price in (self.prompt, self.completion)):
            raise ValueError(
                f"prices are at least 0 per million tokens; {self.prompt} (prompt), {self.completion} (completion) came"
            )
        if not self.free and self.priced_on is None:
            raise ValueError("prices have a date, as they change; none came; set priced_on to the day you read them")
        dated(self.priced_on)

    @property
    def free(self) -> bool:
        """Whether tokens cost nothing."""
        return self.prompt == 0 and self.completion == 0

    def cost(self, usage: Usage) -> float:
        """Return the money that these tokens cost, in `currency`."""
        return (self.prompt * usage.prompt_tokens + self.completion * usage.completion_tokens) / MILLION


def dated(day: str | None) -> None:
    """Raise unless `day` is None or a date.

    Raises:
        ValueError: it is neither.
    """
    if day is not None:
        try:
            date.fromisoformat(day)
        except ValueError:
            raise ValueError(f"priced_on is a day as 2025-01-31; {day!r} came") from None
