"""What a run may spend: reserved before a request is sent, settled when its answer is there."""

import threading
from typing import final

from clinlm.labelers.llm_prices import Prices, Usage


@final
class Budget:
    """Tokens and money, never exceeded by a server that keeps to the limit of tokens that a request names.

    A request reserves the most that it can cost. What it did cost replaces that; where nobody knows (a time-out: the
    provider may have gone on writing), the reserve counts as spent. Threads may share it.
    """

    def __init__(self, prices: Prices, max_tokens: int | None, max_cost: float | None) -> None:
        """Begin with nothing spent.

        Args:
            prices: of the tokens.
            max_tokens: read and written together; None for any number.
            max_cost: in the currency of the prices; None for any sum.

        Raises:
            ValueError: a limit is not positive, or money is limited where tokens cost nothing.
        """
        for name, limit in (("max_tokens_total", max_tokens), ("max_cost", max_cost)):
            if limit is not None and not limit > 0:
                raise ValueError(f"{name} is positive, or null for no limit; {limit} came")
        if max_cost is not None and prices.free:
            raise ValueError(
                "max_cost needs prices, or it would never stop anything; both prices are 0; set prompt_price, "
                "completion_price and priced_on, or limit max_tokens_total"
            )
        self.prices, self.max_tokens, self.max_cost = prices, max_tokens, max_cost
        self._spent, self._reserved, self._lock = Usage(), Usage(), threading.Lock()

    @property
    def spent(self) -> Usage:
        """Settled so far, by all requests."""
        return self._spent

    @property
    def limited(self) -> bool:
        """Whether there is a limit at all."""
        return self.max_tokens is not None or self.max_cost is not None

    def reserve(self, worst: Usage) -> bool:
        """Return whether a request that costs at most `worst` may be sent; if so, it is reserved."""
        with self._lock:
            total = self._spent.plus(self._reserved).plus(worst)
            if self.max_tokens is not None and total.tokens > self.max_tokens:
                return False
            if self.max_cost is not None and self.prices.cost(total) > self.max_cost:
                return False
            self._reserved = self._reserved.plus(worst)
            return True

    def settle(self, worst: Usage, used: Usage | None) -> None:
        """Put what a request used in the place of its reserve; None where that is not known."""
        with self._lock:
            self._reserved = self._reserved.plus(Usage(-worst.prompt_tokens, -worst.completion_tokens))
            self._spent = self._spent.plus(worst if used is None else used)

    def told(self, worst: Usage) -> str:
        """Return why a request that costs at most `worst` is not sent, and what to do."""
        money = self.max_cost is not None and self.prices.cost(self._spent.plus(worst)) > self.max_cost
        if money:
            name, limit = "max_cost", f"{self.max_cost:g} {self.prices.currency}"
            spent, next_one = f"{self.prices.cost(self._spent):.4g}", f"{self.prices.cost(worst):.4g}"
        else:
            name, limit = "max_tokens_total", f"{self.max_tokens:,} tokens"
            spent, next_one = f"{self._spent.tokens:,}", f"{worst.tokens:,}"
        return (
            f"a labeler spends at most its budget of {limit} in a run; {spent} are spent and the next request could "
            f"take {next_one}; raise {name}, or start again for as much once more: answers that came are not paid twice"
        )
