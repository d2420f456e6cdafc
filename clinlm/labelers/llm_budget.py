"""Budget of a run: reserved before a request is sent, settled when its answer arrives."""

import threading
from typing import final

from clinlm.config.errors import ConfigError
from clinlm.labelers.llm_prices import Prices, Usage


@final
class Budget:
    """Limits on tokens and money, never exceeded if the server respects the token limit of a request.

    A request reserves its worst-case usage, which its actual usage then replaces. Where that is unknown (after a
    time-out the provider may have gone on writing) the reserve counts as spent. Threads may share a budget.

    Args:
        max_tokens: prompt and completion together; None for no limit.
        max_cost: in the currency of the prices; None for no limit.

    Raises:
        ConfigError: a limit is not positive, or the cost is limited where tokens are free.
    """

    def __init__(self, prices: Prices, max_tokens: int | None, max_cost: float | None) -> None:
        for name, limit in (("max_tokens_total", max_tokens), ("max_cost", max_cost)):
            if limit is not None and not limit > 0:
                raise ConfigError(f"{name} must be > 0, or null for no limit; got {limit}")
        if max_cost is not None and prices.free:
            raise ConfigError(
                "max_cost needs prices, got prompt_price=0 and completion_price=0; set both and priced_on, or limit "
                "max_tokens_total instead"
            )
        self.prices, self.max_tokens, self.max_cost = prices, max_tokens, max_cost
        self._spent, self._reserved, self._lock = Usage(), Usage(), threading.Lock()

    @property
    def spent(self) -> Usage:
        """Return the usage settled so far."""
        return self._spent

    def reserve(self, worst: Usage) -> bool:
        """Return whether the budget covers a request with this worst-case usage; if so, reserve it."""
        with self._lock:
            total = self._spent.plus(self._reserved).plus(worst)
            if self.max_tokens is not None and total.tokens > self.max_tokens:
                return False
            if self.max_cost is not None and self.prices.cost(total) > self.max_cost:
                return False
            self._reserved = self._reserved.plus(worst)
            return True

    def settle(self, worst: Usage, used: Usage | None) -> None:
        """Replace the reserve of a request by its actual usage; None where that is unknown."""
        with self._lock:
            self._reserved = self._reserved.plus(Usage(-worst.prompt_tokens, -worst.completion_tokens))
            self._spent = self._spent.plus(worst if used is None else used)

    def explain(self, worst: Usage) -> str:
        """Return why a request with this worst-case usage is not sent, and what to do."""
        if self.max_cost is not None and self.prices.cost(self._spent.plus(worst)) > self.max_cost:
            name, limit = "max_cost", f"{self.max_cost:g} {self.prices.currency}"
            spent, request = f"{self.prices.cost(self._spent):.4g}", f"{self.prices.cost(worst):.4g}"
        else:
            name, limit = "max_tokens_total", f"{self.max_tokens:,} tokens"
            spent, request = f"{self._spent.tokens:,}", f"{worst.tokens:,}"
        return (
            f"the labeler must stay within its budget of {limit} per run; {spent} are spent and the next request could "
            f"take {request}; raise {name}, or start again with a new budget: answers received are not paid for twice"
        )
