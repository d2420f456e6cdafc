"""One run over notes: every note asked about until there is an answer, or none is to be had."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, final

from clinlm.labelers.base import UNANSWERED, Labelling, Stopped
from clinlm.labelers.llm_answer import Entity, Malformed, entities
from clinlm.labelers.llm_chunks import chunks
from clinlm.labelers.llm_client import Endpoint, Reply, Trouble
from clinlm.labelers.llm_clock import Clock
from clinlm.labelers.llm_grounding import Places
from clinlm.labelers.llm_prices import Usage
from clinlm.labelers.llm_prompt import Form, estimated
from clinlm.labelers.llm_retry import Patience
from clinlm.labelers.llm_scheduler import Ended, Turns
from clinlm.terminology.spans import Span, flat

AHEAD = 4
"""Notes begun but not yet handed over, at most, as a multiple of the requests at once: one that is asked again and
again holds up those behind it only so far, and a killed run loses no more answers than these."""


class Cut(NamedTuple):
    """Lengths of the pieces of long notes, in characters."""

    longest: int
    overlap: int


@dataclass
class _Tally:
    """What one note has taken so far."""

    usage: Usage = Usage()
    retries: int = 0
    invented: int = 0
    spans: set[Span] = field(default_factory=set, repr=False)


class _Failed(Exception):
    """There is no answer to a note; says why."""


class _Done(NamedTuple):
    labelling: Labelling
    ended: bool  # the run did, before there was an answer

    @property
    def counts(self) -> bool:
        """Whether it is answered, or was paid for."""
        one = self.labelling
        return not one.failed or one.prompt_tokens + one.completion_tokens > 0


@final
class Run:
    """Asks about every note of a list."""

    def __init__(
        self, form: Form, cut: Cut, patience: Patience, turns: Turns, endpoint: Endpoint, told: Counter[str]
    ) -> None:
        """Take what a run needs.

        Args:
            told: is added to: `foreign` labels, answers with `estimated` tokens.
        """
        self._form, self._cut, self._patience = form, cut, patience
        self._turns, self._endpoint, self._told = turns, endpoint, told
        self._clock, self._in_a_row = Clock(), 0

    async def answers(self, notes: Sequence[str], ahead: int) -> AsyncGenerator[Labelling, None]:
        """Yield an answer a note, in their order.

        Where the run ends early, all notes up to the last that is answered or was paid for get one, those without
        answer as failed.

        Args:
            notes: their texts.
            ahead: notes begun but not yet yielded, at most.

        Raises:
            Exception: why the run ended, after the last answer.
        """
        under_way: deque[asyncio.Task[_Done]] = deque()
        begun = 0
        while begun < len(notes) or under_way:
            while begun < len(notes) and len(under_way) < ahead and self._turns.ending is None:
                under_way.append(asyncio.create_task(self._note(begun, notes[begun])))
                begun += 1
            if self._turns.ending is None:
                await asyncio.wait([under_way[0]])
            if self._turns.ending is not None:
                break
            yield under_way.popleft().result().labelling
        rest = [await task for task in under_way]
        if self._turns.ending is not None:
            kept = max((place + 1 for place, done in enumerate(rest) if done.counts), default=0)
            for done in rest[:kept]:
                yield done.labelling
            if kept < len(rest) or begun < len(notes) or any(done.ended for done in rest):
                raise self._turns.ending

    async def _note(self, turn: int, text: str) -> _Done:
        tally, failed, ended = _Tally(), "", False
        with self._clock.running() as share_s:
            places = Places(text)
            try:
                for start, end in chunks(text, *self._cut):
                    if text[start:end].strip():
                        found = await self._piece(turn, text[start:end], tally)
                        verified = places.verify(found, list(self._form.labels), start, end)
                        tally.spans |= verified.spans
                        tally.invented += verified.invented
                        self._told["foreign"] += verified.foreign
            except _Failed as error:
                failed = str(error)
            except Ended:
                failed, ended = UNANSWERED, True
            labelling = Labelling(
                spans=() if failed else tuple(flat(tally.spans)),
                seconds=share_s(),
                prompt_tokens=tally.usage.prompt_tokens,
                completion_tokens=tally.usage.completion_tokens,
                failed=failed,
                invented=tally.invented,
                retries=tally.retries,
            )
        if not ended:
            await self._watch(failed)
        return _Done(labelling, ended)

    async def _watch(self, failed: str) -> None:
        """End the run where note after note fails."""
        self._in_a_row = self._in_a_row + 1 if failed else 0
        if self._in_a_row >= self._patience.give_up_after:
            await self._turns.end(
                Stopped(
                    f"a labeler stops when {self._patience.give_up_after} notes fail one after another; the last one: "
                    f"{failed}; look after the endpoint and start again, or raise give_up_after"
                )
            )

    async def _piece(self, turn: int, text: str, tally: _Tally) -> list[Entity]:
        """The entities of a piece of a note.

        Raises:
            _Failed: there is no answer.
            Ended: the run ends.
        """
        malformed, asked_s, why = 0, 0.0, ""
        for attempt in range(self._patience.attempts):
            if attempt:
                tally.retries += 1
                await self._turns.rest(self._patience.pause_s(attempt, asked_s))
            asked_s = 0.0
            reply = await self._ask(turn, text, malformed, tally)
            if isinstance(reply, Trouble):
                why, asked_s = reply.why, reply.wait_s
                if reply.remedy != "again":
                    break
                if asked_s > self._patience.max_wait_s:
                    why = f"{why} and asks to wait for {asked_s:.0f} seconds, longer than max_wait_s"
                    break
                if asked_s:
                    self._turns.hold(asked_s)
                continue
            try:
                if reply.content is None:
                    raise Malformed("the answer is empty, or a refusal")
                return entities(reply.content)
            except Malformed as error:
                why, malformed = str(error), malformed + 1
        raise _Failed(f"{why} (attempt {attempt + 1} of {self._patience.attempts})")

    async def _ask(self, turn: int, text: str, malformed: int, tally: _Tally) -> Reply | Trouble:
        """Send one request when its turn comes, and count what it took."""
        body = self._form.body(text, malformed)
        worst = self._form.worst(body)
        await self._turns.take(turn, worst)
        reply: Reply | Trouble | None = None
        used: Usage | None = None
        try:
            reply = await self._endpoint.ask(body)
            if isinstance(reply, Reply):
                used = reply.usage
            elif reply.free:
                used = Usage()
        finally:
            await self._turns.give_back(worst, used)
        if used is None:
            self._told["estimated"] += 1
            used = estimated(body, reply.content if isinstance(reply, Reply) else None)
        tally.usage = tally.usage.plus(used)
        if isinstance(reply, Trouble) and reply.remedy == "stop":
            await self._turns.end(Stopped(f"a run ends where the provider's limits do: {reply.why}; raise them there"))
            raise Ended
        if isinstance(reply, Trouble) and reply.remedy == "end":
            law = "an endpoint answers requests for chat completions"
            await self._turns.end(ValueError(f"{law}; {reply.why}; set base_url, model and api_key_variable"))
            raise Ended
        return reply
