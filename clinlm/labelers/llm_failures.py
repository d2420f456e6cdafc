"""Failures of a server: what its status and its error mean, and the setting that removes it. No message is quoted."""

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal, NamedTuple

Action = Literal["retry", "skip", "stop", "abort"]
"""What to do after a failure: retry, skip the note, stop because of a limit, or abort because of a wrong setting."""

_SETTINGS = {
    "temperature": "temperature=null",
    "seed": "seed=null",
    "response_format": "answer_format=json_object, or answer_format=text",
    "max_completion_tokens": "limit_name=max_tokens, or a lower max_completion_tokens",
    "max_tokens": "limit_name=max_completion_tokens, or a lower max_completion_tokens",
    "model": "model to a name that it has",
}
"""Field of a request -> the setting of the labeler that changes or removes it."""

_NAME = re.compile(r"[A-Za-z][\w.-]{0,39}")
_CONTEXT = re.compile(
    r"context.?(length|size|window)|exceeds?.{0,20}context|max.?model.?len|too many (input )?tokens|prompt is too long"
)


class Failure(NamedTuple):
    """Reason why there is no reply.

    Attributes:
        free: whether it certainly cost nothing; otherwise the provider may have written an answer that got lost.
        wait_s: pause that the server requests; 0 where it does not.
        remedy: what to do where every request fails alike.
    """

    reason: str
    action: Action
    free: bool = True
    wait_s: float = 0.0
    remedy: str = "check base_url, model and api_key_variable"


def classify(status: int, body: object, headers: Mapping[str, str], request: Mapping[str, Any]) -> Failure:
    """Return the failure that an HTTP status and the body of an error mean.

    Args:
        body: of the answer, or its `error`, as JSON; anything else if it is none. Only names of fields and codes are
            repeated: a message may contain the note.
        request: that was refused.
    """
    error = body.get("error", body) if isinstance(body, dict) else {}
    code = error.get("code") if isinstance(error, dict) else None
    if 300 <= status < 400:
        return Failure(f"the server redirects requests (status {status}), which is not followed", "abort")
    if status in (401, 403):
        return Failure(f"the server does not accept the key (status {status})", "abort")
    if status in (404, 405):
        return Failure(f"the server has no such address or model (status {status})", "abort")
    if code == "insufficient_quota":
        return Failure("the spending limit at the provider is reached (insufficient_quota)", "stop")
    if status in (408, 409, 425, 429) or status >= 500:
        return Failure(f"the server answered with status {status}", "retry", wait_s=_retry_after_s(headers))
    told = f"status {status}" + (f", {code}" if isinstance(code, str) and _NAME.fullmatch(code) else "")
    if _CONTEXT.search(json.dumps(body).lower()):
        remedy = "lower chunk_characters or max_completion_tokens, or serve the model with a longer context"
        return Failure(f"the note and its answer do not fit the context of the model ({told}); {remedy}", "skip")
    field = _refused_field(error, request)
    if field is None:
        return Failure(f"the server refused the request ({told})", "skip")
    setting = f"set the labeler's {_SETTINGS[field]}" if field in _SETTINGS else f"remove {field} from extra"
    return Failure(f"the server does not accept the parameter {field} ({told})", "abort", remedy=setting)


def _refused_field(error: object, request: Mapping[str, Any]) -> str | None:
    """Return the field of the request that a server does not accept; None if it is not certain."""
    fields = (*(field for field in request if field != "extra_body"), *request.get("extra_body", {}))
    known = [field for field in fields if field in _SETTINGS or field in request.get("extra_body", {})]
    if not isinstance(error, dict):
        return None
    param = error.get("param")
    if isinstance(param, str) and param:
        name = re.split(r"[.\[]", param.removeprefix("body."))[0]
        return name if name in known else None
    message = str(error.get("message", error.get("detail", "")))
    named = [field for field in known if field != "model" and re.search(rf"(?<!\w){re.escape(field)}(?!\w)", message)]
    return named[0] if len(named) == 1 else None


def _retry_after_s(headers: Mapping[str, str]) -> float:
    """Return the pause that the server requests: `retry-after-ms`, or `Retry-After` as a number or a date."""
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        if not value:
            continue
        try:
            seconds = float(value) * unit_s
        except ValueError:
            seconds = _seconds_until(value)
        return seconds if seconds > 0 else 0.0
    return 0.0


def _seconds_until(date: str) -> float:
    try:
        then = parsedate_to_datetime(date)
    except (ValueError, TypeError):
        return math.nan
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    return (then - datetime.now(UTC)).total_seconds()
