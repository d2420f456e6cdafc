"""Text leaves this machine only where the user and the corpus both say so."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.server import found, in_turn, labelled, llm, serving

from clinlm.corpora.base import Corpus, Records
from clinlm.corpora.mimic.mimic3 import Mimic3
from clinlm.labelers.base import LabeledNote, Labeler, Note
from clinlm.labelers.llm import Llm
from clinlm.labelers.llm_client import parse_address
from clinlm.labelers.remote import refuse_remote
from clinlm.labelers.union import Union

HERE = [
    "http://localhost:1/v1",
    "http://LOCALHOST",
    "http://127.0.0.1:8000/v1",
    "https://127.9.8.7",
    "http://[::1]:80/v1",
]
AWAY = {
    "https://api.openai.com/v1": "api.openai.com",
    "http://localhost.example.com": "localhost.example.com",
    "http://127.0.0.1.nip.io": "127.0.0.1.nip.io",
    "http://10.0.0.1": "10.0.0.1",
    "http://0.0.0.0:8000": "0.0.0.0",
    "http://127.1": "127.1",
    "http://2130706433": "2130706433",
    "http://[::ffff:127.0.0.1]": "::ffff:127.0.0.1",
    "http://[fe80::1]": "fe80::1",
    "http://my-own-machine:8000": "my-own-machine",
    "http://localhost.": "localhost.",
}


class Open(Corpus):
    """A corpus that may go anywhere."""

    def records(self) -> Records:
        raise NotImplementedError

    def fingerprint(self) -> str:
        raise NotImplementedError


class Closed(Open):
    """A corpus under an agreement."""

    remote_allowed = False


def asking(url: str, **settings: Any) -> Llm:
    return Llm(base_url=url, model="m", **settings)


@pytest.mark.parametrize("url", HERE)
def test_loopback_addresses_are_always_allowed(url: str) -> None:
    assert asking(url).remote == ""
    refuse_remote(asking(url), Closed())


@pytest.mark.parametrize("url", AWAY)
def test_every_other_address_needs_the_user_and_the_corpus(url: str) -> None:
    assert asking(url).remote == AWAY[url]
    with pytest.raises(ValueError, match="allow_remote"):
        refuse_remote(asking(url), Open())
    with pytest.raises(ValueError, match="allow_remote"):
        list(asking(url).label([Note("a")]))  # also where nobody asked
    refuse_remote(asking(url, allow_remote=True), Open())
    with pytest.raises(ValueError, match="data use agreement"):
        refuse_remote(asking(url, allow_remote=True), Closed())


def test_mimic_forbids_it(tmp_path: Path) -> None:
    assert not Mimic3.remote_allowed
    with pytest.raises(ValueError, match="Mimic3.*data use agreement"):
        refuse_remote(asking("https://api.openai.com/v1", allow_remote=True), Mimic3(str(tmp_path)))


def test_combinations_are_as_remote_as_their_parts() -> None:
    for away in (asking("http://far"), asking("http://far", allow_remote=True)):
        inner = Union({"a": asking("http://localhost"), "b": away})
        both = Union({"inner": inner, "c": asking("http://127.0.0.1")})
        with pytest.raises(ValueError, match="far"):
            refuse_remote(both, Closed())
    refuse_remote(both, Open())
    refuse_remote(Union({"a": asking("http://localhost")}), Closed())


def test_a_labeler_without_the_setting_is_refused() -> None:
    class Sender(Labeler):
        remote = "far"

        def label(self, notes: Sequence[Note]) -> Iterator[LabeledNote]:
            raise NotImplementedError

        def fingerprint(self) -> str:
            return ""

    with pytest.raises(ValueError, match="allow_remote"):
        refuse_remote(Sender(), Open())


WRONG = [
    *(
        "http://user:sk-hidden@host/v1",
        "http://host/v1?key=sk-hidden",
        "http://host/#sk-hidden",
        "sk-hidden",
        "ftp://sk-hidden",
    ),
    *(
        "http://",
        "http://127.0.0.1\\@sk-hidden",
        "http://127.0.0.1 sk-hidden",
        "http://host:sk-hidden",
        "http://[sk-hidden",
    ),
]


@pytest.mark.parametrize("url", WRONG)
def test_addresses_that_are_none_or_may_hold_a_key_are_refused_unseen(url: str) -> None:
    with pytest.raises(ValueError, match="base_url") as caught:
        asking(url)
    assert "sk-hidden" not in str(caught.value)


@given(st.text("lo0127.:[]@/%calhostx", max_size=20))
def test_whatever_is_called_loopback_is_sent_to_a_number_of_this_machine(host: str) -> None:
    try:
        found = parse_address(f"http://{host}:80/v1")
    except ValueError:
        return
    assert not found.loopback or found.url.startswith(("http://127.", "http://[::1]"))


def test_proxies_of_the_environment_are_not_used_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(in_turn(found())) as proxy, serving(in_turn(found())) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        assert not labelled(server, "a")[0].failed
        assert len(server.asked) == 1 and proxy.asked == []
        away = llm(server, base_url="http://clinlm.invalid/v1", allow_remote=True)
        assert not next(away.label([Note("a")])).failed and len(proxy.asked) == 1  # so the proxy would have been found
