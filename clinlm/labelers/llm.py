"""Entities by a large language model behind an OpenAI-compatible address."""

import os
import re
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, final

from clinlm.labelers.base import Labeler, Labelling, Note
from clinlm.labelers.llm_address import Address, address
from clinlm.labelers.llm_answer import Mentions
from clinlm.labelers.llm_budget import Budget
from clinlm.labelers.llm_chunks import chunks
from clinlm.labelers.llm_client import Endpoint
from clinlm.labelers.llm_loop import drained
from clinlm.labelers.llm_prices import Prices, Usage
from clinlm.labelers.llm_prompt import DEFINITIONS, PROMPT, AnswerFormat, Form
from clinlm.labelers.llm_retry import Patience
from clinlm.labelers.llm_run import AHEAD, Cut, Run
from clinlm.labelers.llm_scheduler import Turns
from clinlm.labelers.remote import refuse_opt_in
from clinlm.store.key import digest


@final
@dataclass(eq=False)
class Llm(Labeler):
    """A language model that is asked for the entities of a note, and believed as far as the note bears it out.

    What it names must stand in the note (`clinlm.labelers.llm_grounding` has the rule); offsets are those of the note.
    Malformed,
    empty and refused answers, time-outs, broken connections, overload (429) and errors of the server (5xx) are asked
    again; after `attempts` the note is failed, which its Labelling says. Long notes are sent in overlapping pieces, one
    after the other; where one fails the note fails.

    The budget is that of a run: of this object, over all calls of `label`. No request is sent that could exceed it.

    Source: SPEC S2; arXiv 2501.00031, where GPT-4o, o1-mini and Gemini label notes.

    Attributes:
        base_url: of the endpoint, up to the part before `/chat/completions`.
        model: name of the model, as the server knows it.
        labels: label -> definition; those of the source where none are given.
        prompt, answer_format, mentions, temperature, seed, max_completion_tokens, limit_name, extra: see `Form`.
        api_key_variable: environment variable that holds the key; None sends none. The key is never a setting.
        allow_remote: whether text may go to an address that is not this machine's.
        chunk_characters: of a note that are sent at once, at most.
        overlap_characters: that two pieces of a note have in common, at most.
        concurrency: requests under way at once, at most.
        attempts, timeout_s, wait_s, max_wait_s, give_up_after: see `Patience`.
        max_tokens_total: of all requests, read and written together; None for any number.
        max_cost: of all requests, in `currency`; None for any sum.
        prompt_price, completion_price, currency, priced_on: see `Prices`.
    """

    base_url: str
    model: str
    labels: Mapping[str, str] = field(default_factory=lambda: dict(DEFINITIONS))
    prompt: str = field(default=PROMPT, repr=False)
    answer_format: AnswerFormat = "json_schema"
    mentions: Mentions = "all"
    temperature: float | None = 0.0
    seed: int | None = 0
    max_completion_tokens: int = 4096
    limit_name: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    extra: Mapping[str, Any] = field(default_factory=dict)
    api_key_variable: str | None = None
    allow_remote: bool = False
    chunk_characters: int = 12_000
    overlap_characters: int = 400
    concurrency: int = 8
    attempts: int = 5
    timeout_s: float = 120.0
    wait_s: float = 1.0
    max_wait_s: float = 120.0
    give_up_after: int = 20
    max_tokens_total: int | None = None
    max_cost: float | None = None
    prompt_price: float = 0.0
    completion_price: float = 0.0
    currency: str = "USD"
    priced_on: str | None = None

    def __post_init__(self) -> None:
        self._address: Address = address(self.base_url)
        self._form = Form(
            self.model,
            {str(label): str(meaning) for label, meaning in self.labels.items()},
            self.prompt,
            self.answer_format,
            self.mentions,
            self.temperature,
            self.seed,
            self.max_completion_tokens,
            self.limit_name,
            _plain(self.extra),
        )
        self._cut = Cut(self.chunk_characters, self.overlap_characters)
        chunks("", *self._cut)
        self._patience = Patience(self.attempts, self.timeout_s, self.wait_s, self.max_wait_s, self.give_up_after)
        self.prices = Prices(self.prompt_price, self.completion_price, self.currency, self.priced_on)
        self._budget = Budget(self.prices, self.max_tokens_total, self.max_cost)
        self._told: Counter[str] = Counter()
        if self.concurrency < 1:
            raise ValueError(f"concurrency is at least 1; {self.concurrency} came")

    @property
    def remote(self) -> str:
        """The host, where that is another machine."""
        return "" if self._address.loopback else self._address.host

    @property
    def spent(self) -> Usage:
        """Tokens of this object's requests; where the server did not tell, what they can have been at most."""
        return self._budget.spent

    @property
    def notices(self) -> tuple[str, ...]:
        """Counted warnings for a report, of this object's requests so far."""
        found = []
        if self._told["foreign"]:
            found.append(f"{self._told['foreign']:,} entities left out: their label is none of those asked for")
        if self._told["estimated"]:
            found.append(
                f"{self._told['estimated']:,} requests whose tokens are estimated: the server did not tell them"
            )
        return tuple(found)

    def fingerprint(self) -> str:
        """Return a digest of the address, the question and the pieces; patience, speed and budget change no answer."""
        told = {"base_url": self._address.url, **self._form.told(), **self._cut._asdict()}
        return digest(told)

    def label(self, notes: Sequence[Note]) -> Iterator[Labelling]:
        """Yield one answer a note, in their order.

        At most `concurrency` * 4 notes are begun that have not been yielded. Where the run ends early, all notes
        for which something was paid are yielded first, those without answer as failed.

        Raises:
            Stopped: the budget does not reach for the next request, or `give_up_after` notes failed one after another.
            ValueError: the address is remote and not allowed, the key is missing or refused, or there is no such model.
        """
        refuse_opt_in(self)
        key = _key(self.api_key_variable)
        # A lone surrogate cannot be sent; its place is kept.
        texts = [re.sub("[\ud800-\udfff]", "\ufffd", note.text) for note in notes]
        yield from drained(self._answers(texts, key))

    async def _answers(self, texts: Sequence[str], key: str) -> AsyncGenerator[Labelling, None]:
        endpoint = Endpoint(self._address, key, self.timeout_s, self.concurrency)
        try:
            turns = Turns(self._budget, self.concurrency)
            run = Run(self._form, self._cut, self._patience, turns, endpoint, self._told)
            async for labelling in run.answers(texts, AHEAD * self.concurrency):
                yield labelling
        finally:
            await endpoint.close()


def _key(variable: str | None) -> str:
    """The key, out of the environment; a word that says nothing where none is needed.

    Raises:
        ValueError: it is not there, or no key. The message does not show it.
    """
    if variable is None:
        return "none"
    key = os.environ.get(variable, "").strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError(
            f"the key of an endpoint stands in the environment variable that api_key_variable names; {variable} is "
            f"{'no key' if key else 'not set'}; export it, or set api_key_variable to null"
        )
    return key


def _plain(value: Any) -> Any:
    """A setting as plain dicts and lists."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(one) for one in value]
    return value
