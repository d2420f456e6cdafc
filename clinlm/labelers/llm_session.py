"""One pass over notes: sends every piece of a note until it is answered, and yields the notes in order."""

import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, final

from clinlm.config.errors import ConfigError
from clinlm.labelers.base import UNANSWERED, LabeledNote, LabelingStopped
from clinlm.labelers.llm_chunks import Chunking
from clinlm.labelers.llm_client import ChatClient, Reply
from clinlm.labelers.llm_failures import Failure
from clinlm.labelers.llm_grounding import Grounding
from clinlm.labelers.llm_prices import Usage
from clinlm.labelers.llm_prompt import Entity, MalformedAnswerError, RequestTemplate, estimate_usage, parse_entities
from clinlm.labelers.llm_retry import RetryPolicy
from clinlm.labelers.llm_scheduler import RunEndedError, Scheduler, TimeShares, Workers
from clinlm.terminology.spans import Span, flatten

AHEAD = 4
"""Maximum number of notes begun but not yet yielded, as a multiple of the concurrent requests: a note that is retried
again and again delays those behind it only so far, and a killed run loses no more answers than these."""

_POLL_S = 0.5


@dataclass
class _Draft:
    """Spans and costs of one note so far."""

    usage: Usage = Usage()
    retries: int = 0
    invented: int = 0
    foreign: int = 0
    estimated: int = 0
    spans: set[Span] = field(default_factory=set, repr=False)


class _NoteFailedError(Exception):
    """There is no answer to a note; the message is the reason."""


class _Result(NamedTuple):
    note: LabeledNote
    ended: bool  # the run ended before there was an answer
    draft: _Draft

    @property
    def counts(self) -> bool:
        """Whether the note is answered, or was paid for."""
        return not self.note.failed or self.draft.usage.tokens > 0


@final
@dataclass
class Session:
    """Labels every note of a list with a pool of threads.

    Attributes:
        concurrency: number of threads, each with one request at a time.
        counts: is added to: entities with `foreign` labels, requests whose tokens are `estimated`.
    """

    template: RequestTemplate
    chunking: Chunking
    retry: RetryPolicy
    scheduler: Scheduler
    client: ChatClient
    concurrency: int
    counts: Counter[str]

    def __post_init__(self) -> None:
        self._shares, self._lock, self._failed_in_a_row = TimeShares(), threading.Lock(), 0

    def label(self, texts: Sequence[str]) -> Iterator[LabeledNote]:
        """Yield one result per text, in order.

        Where the run ends early, everything up to the last note that is answered or was paid for is yielded; notes
        without an answer are failed.

        Raises:
            LabelingStopped, ConfigError: why the run ended, after the last result.
        """
        pending: deque[Future[_Result]] = deque()
        begun, scheduler = 0, self.scheduler
        with Workers(min(self.concurrency, len(texts))) as workers:
            try:
                while begun < len(texts) or pending:
                    while begun < len(texts) and len(pending) < AHEAD * self.concurrency and scheduler.ending is None:
                        pending.append(workers.submit(partial(self._label_note, begun, texts[begun])))
                        begun += 1
                    # With a limit, since Ctrl-C does not interrupt an unlimited wait on every system.
                    while scheduler.ending is None and not wait([pending[0]], _POLL_S).done:
                        pass
                    if scheduler.ending is not None:
                        break
                    yield self._count(pending.popleft().result())
                rest = [future.result() for future in pending]
            finally:
                reason, complete = scheduler.ending, begun == len(texts)
                scheduler.end(RunEndedError())
        kept = max((place + 1 for place, result in enumerate(rest) if result.counts), default=0)
        yield from map(self._count, rest[:kept])
        if reason is not None and (kept < len(rest) or not complete or any(result.ended for result in rest)):
            raise reason

    def _count(self, result: _Result) -> LabeledNote:
        self.counts["foreign"] += result.draft.foreign
        self.counts["estimated"] += result.draft.estimated
        return result.note

    def _label_note(self, number: int, text: str) -> _Result:
        draft, failed, ended = _Draft(), "", False
        with self._shares.running() as share_s:
            grounding = Grounding(text)
            try:
                for start, end in self.chunking.split(text):
                    if text[start:end].strip():
                        entities = self._entities(number, text[start:end], draft)
                        grounded = grounding.verify(entities, list(self.template.labels), start, end)
                        draft.spans |= grounded.spans
                        draft.invented += grounded.invented
                        draft.foreign += grounded.foreign
            except _NoteFailedError as error:
                failed = str(error)
            except RunEndedError:
                failed, ended = UNANSWERED, True
            note = LabeledNote(
                spans=() if failed else tuple(flatten(draft.spans)),
                seconds=share_s(),
                prompt_tokens=draft.usage.prompt_tokens,
                completion_tokens=draft.usage.completion_tokens,
                failed=failed,
                invented=draft.invented,
                retries=draft.retries,
            )
        if not ended:
            self._watch(failed)
        return _Result(note, ended, draft)

    def _watch(self, failed: str) -> None:
        """End the run where too many notes fail in a row."""
        with self._lock:
            self._failed_in_a_row = self._failed_in_a_row + 1 if failed else 0
            give_up = self._failed_in_a_row >= self.retry.give_up_after
        if give_up:
            self.scheduler.end(
                LabelingStopped(
                    f"labeling stops after {self.retry.give_up_after} consecutive failed notes; the last one: "
                    f"{failed}; check the endpoint and start again, or raise give_up_after"
                )
            )

    def _entities(self, number: int, text: str, draft: _Draft) -> list[Entity]:
        """Return the entities of a piece of a note, retrying as the policy allows.

        Raises:
            _NoteFailedError: there is no answer.
            RunEndedError: the run has ended.
        """
        malformed, requested_s, reason = 0, 0.0, ""
        for attempt in range(self.retry.attempts):
            if attempt:
                draft.retries += 1
                self.scheduler.pause(self.retry.pause_s(attempt, requested_s))
            requested_s = 0.0
            reply = self._send(number, text, malformed, draft)
            if isinstance(reply, Failure):
                reason, requested_s = reply.reason, reply.wait_s
                if reply.action != "retry":
                    break
                if requested_s > self.retry.max_wait_s:
                    reason = f"{reason} and requests a pause of {requested_s:.0f} seconds, longer than max_wait_s"
                    break
                if requested_s:
                    self.scheduler.hold(requested_s)
                continue
            try:
                if reply.content is None:
                    raise MalformedAnswerError("the answer is empty, or a refusal")
                return parse_entities(reply.content)
            except MalformedAnswerError as error:
                reason, malformed = str(error), malformed + 1
        raise _NoteFailedError(f"{reason} (attempt {attempt + 1} of {self.retry.attempts})")

    def _send(self, number: int, text: str, malformed: int, draft: _Draft) -> Reply | Failure:
        """Send one request when the scheduler admits it, and count its usage."""
        request = self.template.request(text, malformed)
        worst = self.template.worst_usage(request)
        self.scheduler.acquire(number, worst)
        used: Usage | None = None
        try:
            reply = self.client.send(request)
            if isinstance(reply, Reply):
                used = reply.usage
            elif reply.free:
                used = Usage()
        finally:
            self.scheduler.release(worst, used)
        if used is None:
            draft.estimated += 1
            used = estimate_usage(request, reply.content if isinstance(reply, Reply) else None)
        draft.usage = draft.usage.plus(used)
        if isinstance(reply, Failure) and reply.action in ("stop", "abort"):
            self.scheduler.end(_ending(reply))
            raise RunEndedError
        return reply


def _ending(failure: Failure) -> Exception:
    if failure.action == "stop":
        return LabelingStopped(f"labeling stops: {failure.reason}; raise the limit at the provider and start again")
    return ConfigError(f"{failure.reason}; {failure.remedy}")
