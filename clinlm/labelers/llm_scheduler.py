"""Which request is sent next: the first notes' first, as far as the budget and the limit of requests at once reach."""

import asyncio
import heapq
from typing import Literal, final

from clinlm.labelers.base import Stopped
from clinlm.labelers.llm_budget import Budget
from clinlm.labelers.llm_prices import Usage


class Ended(Exception):
    """The run ends: the request is not sent."""


@final
class Turns:
    """The order of the requests of one run, and its end.

    As the first notes come first, the notes for which something was spent when a run ends are the first ones too, and
    resuming needs no more than to know how many they are.
    """

    def __init__(self, budget: Budget, at_once: int) -> None:
        self._budget, self._at_once = budget, at_once
        self._waiting: list[int] = []
        self._flying = 0
        self._opens = 0.0
        self._changed, self._over = asyncio.Condition(), asyncio.Event()
        self.ending: Exception | None = None
        """Why the run ends before its last note; None while it goes on."""

    async def take(self, turn: int, worst: Usage) -> None:
        """Wait until a request may be sent, and reserve what it can cost. `give_back` must follow.

        Args:
            turn: number of the note; none has two requests under way.
            worst: tokens of the request, at most.

        Raises:
            Ended: the run ends, or ends by this request: its budget does not reach.
        """
        while True:
            if (left_s := self._held_s()) > 0:
                await self.rest(left_s)
            async with self._changed:
                heapq.heappush(self._waiting, turn)
                try:
                    decision = await self._changed.wait_for(lambda: self._decision(turn, worst))
                finally:
                    self._waiting.remove(turn)
                    heapq.heapify(self._waiting)
                    self._changed.notify_all()
            if decision == "end":
                raise Ended
            if decision == "send":
                return

    async def give_back(self, worst: Usage, used: Usage | None) -> None:
        """End a request, and settle what it used; None where that is not known."""
        async with self._changed:
            self._flying -= 1
            self._budget.settle(worst, used)
            self._changed.notify_all()

    async def end(self, why: Exception) -> None:
        """Send nothing any more. What is under way comes to its end."""
        async with self._changed:
            self._close(why)

    def hold(self, seconds: float) -> None:
        """Send nothing for a while: the server asked for that."""
        self._opens = max(self._opens, asyncio.get_running_loop().time() + seconds)

    async def rest(self, seconds: float) -> None:
        """Wait, but not longer than the run.

        Raises:
            Ended: the run ends.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._over.wait()
        except TimeoutError:
            return
        raise Ended

    def _held_s(self) -> float:
        return self._opens - asyncio.get_running_loop().time()

    def _decision(self, turn: int, worst: Usage) -> Literal["", "send", "hold", "end"]:
        """What becomes of a request now; "" where it waits on. One that is sent is reserved."""
        if self.ending is not None:
            return "end"
        if self._held_s() > 0:
            return "hold"
        if self._waiting[0] != turn or self._flying >= self._at_once:
            return ""
        if self._budget.reserve(worst):
            self._flying += 1
            return "send"
        if self._flying:
            return ""
        self._close(Stopped(self._budget.told(worst)))
        return "end"

    def _close(self, why: Exception) -> None:
        self.ending = self.ending or why
        self._over.set()
        self._changed.notify_all()
