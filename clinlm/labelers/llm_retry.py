"""Retry policy: attempts and back-off."""

import random
from dataclasses import dataclass
from typing import final

from clinlm.config.errors import ConfigError


@final
@dataclass(frozen=True)
class RetryPolicy:
    """Limits on attempts, waiting and failures.

    Attributes:
        attempts: maximum number of requests for one piece of a note, whatever made the earlier ones fail.
        timeout_s: time limit of a request in all, also while its answer is still arriving.
        wait_s: pause before the second attempt; doubles with each further one.
        max_wait_s: longest pause. A server that asks for a longer one (Retry-After) is not asked again.
        give_up_after: number of consecutive failed notes that ends the run.
    """

    attempts: int = 5
    timeout_s: float = 120.0
    wait_s: float = 1.0
    max_wait_s: float = 120.0
    give_up_after: int = 20

    def __post_init__(self) -> None:
        if min(self.attempts, self.give_up_after) < 1 or self.timeout_s <= 0 or min(self.wait_s, self.max_wait_s) < 0:
            raise ConfigError(
                "attempts and give_up_after must be >= 1, timeout_s > 0, wait_s and max_wait_s >= 0; got "
                f"attempts={self.attempts}, give_up_after={self.give_up_after}, timeout_s={self.timeout_s}, "
                f"wait_s={self.wait_s}, max_wait_s={self.max_wait_s}"
            )

    def pause_s(self, failed: int, requested_s: float) -> float:
        """Return the pause before the next attempt, in seconds.

        Args:
            failed: number of attempts so far, at least 1.
            requested_s: pause that the server requested; 0 where it did not. It is always kept, plus a little jitter.
        """
        backed_off = min(self.max_wait_s, self.wait_s * 2.0 ** min(failed - 1, 60))
        jitter = random.uniform(0.5, 1.0)  # so that requests refused together do not return together
        return requested_s + 0.1 * backed_off * jitter if requested_s else backed_off * jitter
