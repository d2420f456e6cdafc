"""Where an endpoint is, and whether what is sent to it stays on this machine. No name is resolved."""

import ipaddress
from typing import NamedTuple
from urllib.parse import urlsplit


class Address(NamedTuple):
    """A checked base URL.

    Attributes:
        url: without a slash at its end; localhost is written as 127.0.0.1, so that no file and no server of names
            decides where that is.
        host: as the user wrote it, in lower case.
        loopback: whether it is `localhost`, in 127.0.0.0/8, or ::1. Every other name and number counts as
            another machine.
    """

    url: str
    host: str
    loopback: bool


def address(base_url: str) -> Address:
    """Return the parts of a base URL that matter.

    Raises:
        ValueError: it is no http or https URL of a host, or holds a user, a password, a query or a fragment. The
            message does not repeat it, as it may hold a key.
    """
    law = "base_url is like http://127.0.0.1:8000/v1: scheme, host, port and path; no key, user, query or fragment"
    try:
        parts = urlsplit(base_url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError(f"{law}; what came is no URL") from None
    odd = any(character.isspace() or not character.isprintable() or character == "\\" for character in base_url)
    if odd or parts.scheme not in ("http", "https") or not host or "@" in parts.netloc or "?" in base_url:
        raise ValueError(f"{law}; what came has no host, another scheme, or more than that")
    if "#" in base_url:
        raise ValueError(f"{law}; what came has a fragment")
    asked = "127.0.0.1" if host == "localhost" else host
    named = f"[{asked}]" if ":" in asked else asked
    url = f"{parts.scheme}://{named}{'' if port is None else f':{port}'}{parts.path.rstrip('/')}"
    return Address(url, host, _is_loopback(asked))


def _is_loopback(host: str) -> bool:
    try:
        number = ipaddress.ip_address(host)
    except ValueError:  # a name; also 127.1 and 0x7f000001, which only some libraries read as numbers
        return False
    return number == ipaddress.ip_address("::1") or (number.version == 4 and number.is_loopback)
