"""How often a request is sent again, and how long is waited before."""

import random
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Patience:
    """Limits of what is put up with.

    Attributes:
        attempts: requests for one piece of a note, at most, whatever went wrong with those before.
        timeout_s: a request is given up after this time in all, also while its answer is still coming.
        wait_s: before the second attempt; each further one waits twice as long.
        max_wait_s: before any attempt. A server that asks for more (Retry-After) is not asked again.
        give_up_after: notes that fail one after another before the run ends.
    """

    attempts: int = 5
    timeout_s: float = 120.0
    wait_s: float = 1.0
    max_wait_s: float = 120.0
    give_up_after: int = 20

    def __post_init__(self) -> None:
        if min(self.attempts, self.give_up_after) < 1 or self.timeout_s <= 0 or min(self.wait_s, self.max_wait_s) < 0:
            raise ValueError(
                "attempts and give_up_after are at least 1, timeout_s is positive, wait_s and max_wait_s not negative; "
                f"{self.attempts}, {self.give_up_after}, {self.timeout_s}, {self.wait_s} and {self.max_wait_s} came"
            )

    def pause_s(self, failed: int, asked_s: float) -> float:
        """Return how long to wait before the next attempt, in seconds.

        Args:
            failed: attempts so far, at least 1.
            asked_s: what the server asked for; 0 where it did not. It is always waited for, and a bit more.
        """
        backed_off = min(self.max_wait_s, self.wait_s * 2.0 ** min(failed - 1, 60))
        jitter = random.uniform(0.5, 1.0)  # so that requests refused together do not come back together
        return asked_s + 0.1 * backed_off * jitter if asked_s else backed_off * jitter
