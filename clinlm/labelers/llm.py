"""Entities by a large language model behind an OpenAI-compatible address."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, final

from clinlm.config.errors import ConfigError
from clinlm.labelers.base import LabeledNote, Labeler, Note
from clinlm.labelers.llm_budget import Budget
from clinlm.labelers.llm_chunks import Chunking
from clinlm.labelers.llm_client import ChatClient, parse_address
from clinlm.labelers.llm_prices import Prices, Usage
from clinlm.labelers.llm_prompt import DEFINITIONS, PROMPT, AnswerFormat, Mentions, RequestTemplate
from clinlm.labelers.llm_retry import RetryPolicy
from clinlm.labelers.llm_scheduler import Scheduler
from clinlm.labelers.llm_session import Session
from clinlm.labelers.remote import refuse_opt_in
from clinlm.store.key import digest


@final
@dataclass(eq=False)
class Llm(Labeler):
    """A language model that lists the entities of a note; those whose text is not in the note are dropped.

    Offsets are those of the note; `clinlm.labelers.llm_grounding` has the rule. Malformed, empty and refused answers,
    time-outs, broken connections, overload (429) and server errors (5xx) are retried; after `attempts` the note fails,
    and its result says so. Long notes are sent in overlapping pieces, one after the other; where one fails the note
    fails.

    The budget is that of a run: of this object, over all calls of `label`. No request is sent that could exceed it.

    Source: "LLM and ontology labelers distilled into NER taggers" (arXiv 2501.00031), where GPT-4o, o1-mini and Gemini
        label notes.

    Attributes:
        base_url: of the endpoint, up to the part before `/chat/completions`.
        model: model name on the server.
        labels: label -> definition; by default those of the source.
        prompt, answer_format, mentions, temperature, seed, max_completion_tokens, limit_name, extra: see
            `RequestTemplate`.
        api_key_variable: environment variable that holds the key; None sends none. The key is never a setting.
        allow_remote: whether text may be sent to an address that is not this machine's.
        chunk_characters: maximum length of the pieces of a note.
        overlap_characters: maximum overlap of two pieces.
        concurrency: maximum number of concurrent requests.
        attempts, timeout_s, wait_s, max_wait_s, give_up_after: see `RetryPolicy`.
        max_tokens_total: of all requests, prompts and completions together; None for no limit.
        max_cost: of all requests, in `currency`; None for no limit.
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
        self._address = parse_address(self.base_url)
        self._template = RequestTemplate(
            self.model,
            {str(label): str(definition) for label, definition in self.labels.items()},
            self.prompt,
            self.answer_format,
            self.mentions,
            self.temperature,
            self.seed,
            self.max_completion_tokens,
            self.limit_name,
            _to_plain(self.extra),
        )
        self._chunking = Chunking(self.chunk_characters, self.overlap_characters)
        self._retry = RetryPolicy(self.attempts, self.timeout_s, self.wait_s, self.max_wait_s, self.give_up_after)
        self.prices = Prices(self.prompt_price, self.completion_price, self.currency, self.priced_on)
        self._budget = Budget(self.prices, self.max_tokens_total, self.max_cost)
        self._counts: Counter[str] = Counter()
        if self.concurrency < 1:
            raise ConfigError(f"concurrency must be >= 1, got {self.concurrency}")

    @property
    def remote(self) -> str:
        """Return the host, where that is another machine."""
        return "" if self._address.loopback else self._address.host

    @property
    def spent(self) -> Usage:
        """Return the usage of all requests of this object; the maximum where the server did not report it."""
        return self._budget.spent

    @property
    def notices(self) -> tuple[str, ...]:
        """Return counted warnings, over the requests of this object so far."""
        messages = {
            "foreign": "entities dropped because their label is unknown",
            "estimated": "requests with estimated tokens, because the server did not report them",
        }
        return tuple(f"{self._counts[name]:,} {text}" for name, text in messages.items() if self._counts[name])

    def fingerprint(self) -> str:
        """Return a digest of address, requests and pieces. Retries, speed and budget change no answer."""
        settings = {"base_url": self._address.url, **self._template.settings(), **asdict(self._chunking)}
        return digest(settings)

    def label(self, notes: Sequence[Note]) -> Iterator[LabeledNote]:
        """Yield one result per note, in order.

        At most `concurrency` * 4 notes are begun that have not been yielded. Where the run ends early, all notes that
        something was paid for are yielded first, those without answer as failed.

        Raises:
            LabelingStopped: the budget does not cover the next request, or `give_up_after` notes failed in a row.
            ConfigError: the address is remote and not allowed, the key is missing or refused, or there is no such
                model.
        """
        refuse_opt_in(self)
        key = _read_key(self.api_key_variable)
        # A lone surrogate cannot be sent; its offset is kept.
        texts = [re.sub("[\ud800-\udfff]", "\ufffd", note.text) for note in notes]
        with closing(ChatClient(self._address, key, self.timeout_s, self.concurrency)) as client:
            scheduler = Scheduler(self._budget)
            session = Session(
                self._template, self._chunking, self._retry, scheduler, client, self.concurrency, self._counts
            )
            yield from session.label(texts)


def _read_key(variable: str | None) -> str:
    """Return the key from the environment; a placeholder where none is needed.

    Raises:
        ConfigError: it is missing or malformed. The message does not show it.
    """
    if variable is None:
        return "none"
    key = os.environ.get(variable, "").strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(
            f"api_key_variable must name an environment variable that holds the key of the endpoint; {variable} is "
            f"{'not a key' if key else 'not set'}; export it, or set api_key_variable to null"
        )
    return key


def _to_plain(value: Any) -> Any:
    """Return a setting as plain dicts and lists."""
    if isinstance(value, Mapping):
        return {str(name): _to_plain(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_to_plain(item) for item in value]
    return value
