"""One request to one endpoint. Whatever comes of it is told without a word of what was sent or answered."""

import asyncio
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal, NamedTuple, final

from clinlm.config.extras import imported
from clinlm.labelers.llm_address import Address
from clinlm.labelers.llm_prices import Usage

Remedy = Literal["again", "next", "stop", "end"]
"""What to do about a trouble: ask again, go on with the next note, or end the run: others would fare alike."""


class Reply(NamedTuple):
    """What the model wrote; None where it refused. `usage` is None where the server does not tell it."""

    content: str | None
    usage: Usage | None


class Trouble(NamedTuple):
    """Why there is no reply.

    Attributes:
        why: what happened, for a message.
        remedy: what to do.
        free: whether it surely cost nothing; else the provider may have written an answer that did not arrive.
        wait_s: how long the server asks to wait; 0 where it does not.
    """

    why: str
    remedy: Remedy
    free: bool = True
    wait_s: float = 0.0


@final
class Endpoint:
    """A client of one run, with what keeps text and key where they belong.

    No redirect is followed: it could lead to another host. Proxies of the environment are not used for an address of
    this machine. Exceptions of the client hold request and answer: they end here. The client's own retries are off.
    """

    def __init__(self, address: Address, key: str, timeout_s: float, at_once: int) -> None:
        self._timeout_s, self._openai = timeout_s, imported("openai", "llm")
        limits = imported("httpx2", "llm").Limits(max_connections=at_once, max_keepalive_connections=at_once)
        plain = address.loopback and address.url.startswith("http:")  # no certificate to check, and none to load
        client = self._openai.DefaultAsyncHttpx2Client(
            follow_redirects=False,
            trust_env=not address.loopback,
            verify=not plain,
            timeout=timeout_s,
            limits=limits,
        )
        self._client = self._openai.AsyncOpenAI(
            api_key=key, base_url=address.url, timeout=timeout_s, max_retries=0, http_client=client
        )
        # Here, as the client imports this part of itself when it is first used: that is no time of a request.
        self._create = self._client.chat.completions.with_raw_response.create

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def ask(self, body: Mapping[str, Any]) -> Reply | Trouble:
        """Send a request and return what came of it."""
        openai = self._openai
        late = Trouble(f"no answer within {self._timeout_s:g} seconds", "again", free=False)
        try:
            async with asyncio.timeout(self._timeout_s):  # in all: the client's own limit begins anew with every byte
                answer = await self._create(**body)
            return _reply(answer.http_response.json())
        except TimeoutError:
            return late
        except openai.APIStatusError as error:
            return _refused(error.status_code, error.code, error.response.headers)
        except openai.APITimeoutError as error:
            return late._replace(free=_before_sending(error))
        except openai.APIConnectionError as error:
            return Trouble("no connection, or it broke", "again", free=_before_sending(error))
        except (ValueError, LookupError, TypeError, AttributeError):
            return Trouble("the answer is no chat completion", "again", free=False)
        except Exception as error:  # of a client that we do not know to the last line; its message may hold the note
            return Trouble(f"the client failed ({type(error).__name__})", "next", free=False)


def _reply(told: Any) -> Reply:
    message = told["choices"][0]["message"]
    content = None if message.get("refusal") else message.get("content")
    if content is not None and not isinstance(content, str):
        raise TypeError
    return Reply(content or None, _usage(told.get("usage")))


def _usage(told: Any) -> Usage | None:
    if not isinstance(told, dict):
        return None
    counts = [told.get("prompt_tokens"), told.get("completion_tokens")]
    known = [count for count in counts if type(count) is int and count >= 0]
    return Usage(*known) if len(known) == 2 else None


def _refused(status: int, code: str | None, headers: Mapping[str, str]) -> Trouble:
    """What an HTTP status says."""
    if 300 <= status < 400:
        return Trouble(f"the server sends requests elsewhere (status {status}), which is not followed", "end")
    if status in (401, 403):
        return Trouble(f"the server does not accept the key (status {status})", "end")
    if status in (404, 405):
        return Trouble(f"the server knows no such address or model (status {status})", "end")
    if code == "insufficient_quota":
        return Trouble("the provider's own limit of money is reached (insufficient_quota)", "stop")
    if status in (408, 409, 425, 429) or status >= 500:
        return Trouble(f"the server answered with status {status}", "again", wait_s=_wait_s(headers))
    return Trouble(f"the server refused the request (status {status})", "next")


def _before_sending(error: BaseException) -> bool:
    return type(error.__cause__).__name__ in ("ConnectError", "ConnectTimeout", "PoolTimeout")


def _wait_s(headers: Mapping[str, str]) -> float:
    """Seconds that the server asks to wait: `retry-after-ms`, or `Retry-After` as a number or a date."""
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        told = headers.get(name, "").strip()
        if not told:
            continue
        try:
            seconds = float(told) * unit_s
        except ValueError:
            seconds = _until_s(told)
        return seconds if seconds > 0 else 0.0
    return 0.0


def _until_s(day: str) -> float:
    try:
        then = parsedate_to_datetime(day)
    except (ValueError, TypeError):
        return math.nan
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    return (then - datetime.now(UTC)).total_seconds()
