"""Client of one OpenAI-compatible endpoint. No message, error or log line quotes a request or an answer."""

import ipaddress
import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, final
from urllib.parse import urlsplit

from clinlm.config.errors import ConfigError
from clinlm.config.extras import imported
from clinlm.labelers.llm_failures import Failure, classify
from clinlm.labelers.llm_prices import Usage


class Address(NamedTuple):
    """A checked base URL. No name is resolved.

    Attributes:
        url: without a trailing slash; localhost is written as 127.0.0.1, so that neither a hosts file nor a name server
            decides where that is.
        host: as the user wrote it, in lower case.
        loopback: whether the host is `localhost`, in 127.0.0.0/8, or ::1. Every other name or number counts as another
            machine.
    """

    url: str
    host: str
    loopback: bool


def parse_address(base_url: str) -> Address:
    """Return the checked parts of a base URL.

    Raises:
        ConfigError: it is not an http or https URL of a host, or contains a user, password, query or fragment. The
            message does not quote it, since it may contain a key.
    """
    rule = "base_url must be scheme, host, port and path only, such as http://127.0.0.1:8000/v1"
    try:
        parts = urlsplit(base_url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ConfigError(f"{rule}; got something that is not a URL") from None
    odd = any(character.isspace() or not character.isprintable() or character == "\\" for character in base_url)
    extra = "@" in parts.netloc or "?" in base_url or "#" in base_url
    if odd or extra or parts.scheme not in ("http", "https") or not host:
        raise ConfigError(f"{rule}; got no host, another scheme, or a key, user, query or fragment")
    number = "127.0.0.1" if host == "localhost" else host
    name = f"[{number}]" if ":" in number else number
    url = f"{parts.scheme}://{name}{'' if port is None else f':{port}'}{parts.path.rstrip('/')}"
    return Address(url, host, _is_loopback(number))


def _is_loopback(host: str) -> bool:
    try:
        number = ipaddress.ip_address(host)
    except ValueError:  # a name; also 127.1 and 0x7f000001, which only some libraries read as numbers
        return False
    return number == ipaddress.ip_address("::1") or (number.version == 4 and number.is_loopback)


class Reply(NamedTuple):
    """Answer of the model; `content` is None where it refused, `usage` where the server does not report it."""

    content: str | None
    usage: Usage | None


@final
class ChatClient:
    """Synchronous client of one run; threads may share it.

    Redirects are not followed: they could lead to another host. Proxies of the environment are not used for an address
    of this machine. The client's own retries are off, since each request is reserved in the budget. Exceptions of the
    client contain request and answer, so they do not leave this class.
    """

    def __init__(self, address: Address, key: str, timeout_s: float, concurrency: int) -> None:
        self._timeout_s, self._openai = timeout_s, imported("openai", "llm")
        self._httpx = imported("httpx2", "llm")
        logging.getLogger("httpx2").setLevel(logging.WARNING)  # it logs a line per request
        plain = address.loopback and address.url.startswith("http:")  # no certificate to check, and none to load
        http_client = self._openai.DefaultHttpx2Client(
            follow_redirects=False,
            trust_env=not address.loopback,
            verify=not plain,
            timeout=timeout_s,
            limits=self._httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
            event_hooks={"request": [self._start_clock], "response": [self._limit_body]},
        )
        self._client = self._openai.OpenAI(
            api_key=key, base_url=address.url, timeout=timeout_s, max_retries=0, http_client=http_client
        )
        # The client imports this part of itself on first use; do it here, outside the time of a request.
        self._create = self._client.chat.completions.with_raw_response.create

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def send(self, request: Mapping[str, Any]) -> Reply | Failure:
        """Send a request and return its reply, or why there is none."""
        openai = self._openai
        late = Failure(f"no answer within {self._timeout_s:g} seconds", "retry", free=False)
        try:
            return _parse_reply(self._create(**request).http_response.json())
        except openai.APIStatusError as error:
            return classify(error.status_code, error.body, error.response.headers, request)
        except openai.APITimeoutError as error:
            return late._replace(free=_failed_before_sending(error))
        except openai.APIConnectionError as error:
            return Failure("no connection, or it broke", "retry", free=_failed_before_sending(error))
        except (ValueError, LookupError, TypeError, AttributeError):
            return Failure("the answer is not a chat completion", "retry", free=False)
        except Exception as error:  # any other error of the client: its message may contain the note
            if isinstance(error, self._httpx.TimeoutException):
                return late
            return Failure(f"the client failed ({type(error).__name__})", "skip", free=False)

    def _start_clock(self, request: Any) -> None:
        request.extensions["deadline"] = time.monotonic() + self._timeout_s

    def _limit_body(self, response: Any) -> None:
        """Apply the time limit to the whole answer: the client's own limit restarts with every byte."""
        extensions = response.request.extensions
        extensions["timeout"]["read"] = max(0.001, extensions["deadline"] - time.monotonic())
        response.stream = self._limited(response.stream, extensions["deadline"])

    def _limited(self, stream: Any, deadline: float) -> Any:
        late = self._httpx.ReadTimeout

        class Limited(self._httpx.SyncByteStream):  # type: ignore[misc, name-defined]
            def __iter__(self) -> Iterator[bytes]:
                for part in stream:
                    if time.monotonic() > deadline:
                        raise late("the time limit of the request is over")
                    yield part

            def close(self) -> None:
                stream.close()

        return Limited()


def _parse_reply(answer: Any) -> Reply:
    message = answer["choices"][0]["message"]
    content = None if message.get("refusal") else message.get("content")
    if content is not None and not isinstance(content, str):
        raise TypeError
    return Reply(content or None, _parse_usage(answer.get("usage")))


def _parse_usage(usage: Any) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    counts = [usage.get("prompt_tokens"), usage.get("completion_tokens")]
    known = [count for count in counts if type(count) is int and count >= 0]
    return Usage(*known) if len(known) == 2 else None


def _failed_before_sending(error: BaseException) -> bool:
    return type(error.__cause__).__name__ in ("ConnectError", "ConnectTimeout", "PoolTimeout")
