"""A real HTTP server on loopback that speaks the chat protocol, and does with each request what a test tells it."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from clinlm.labelers.base import LabeledNote, Note
from clinlm.labelers.llm import Llm

USAGE = (100, 20)
FAST = {"wait_s": 0.001, "timeout_s": 20.0, "max_wait_s": 0.05}
"""Settings with which no test waits long."""


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    number: int
    path: str
    headers: Mapping[str, str]  # names in lower case
    body: dict[str, Any]

    @property
    def prompt(self) -> str:
        return str(self.body["messages"][0]["content"])

    @property
    def text(self) -> str:
        """The note, or the piece of it."""
        return self.prompt.partition("<note>\n")[2].rpartition("\n</note>")[0]


@dataclass(frozen=True)
class Sent:
    """What goes back: a body, after a while, in drops with pauses between; no status means a connection that breaks."""

    body: bytes
    status: int | None = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    wait_s: float = 0.0
    drops: int = 1
    drop_s: float = 0.0


def chat(content: str | None, usage: tuple[int, int] | None = USAGE, wait_s: float = 0.0, **message: Any) -> Sent:
    """An answer of the protocol around a content."""
    told: dict[str, Any] = {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "tiny",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content, **message}}
        ],
    }
    if usage is not None:
        told["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    return Sent(json.dumps(told).encode(), wait_s=wait_s)


def found(*entities: tuple[Any, ...], **rest: Any) -> Sent:
    """An answer that names entities: text and label, and which place if there is a third."""
    names = ("text", "label", "occurrence")
    return chat(json.dumps({"entities": [dict(zip(names, one, strict=False)) for one in entities]}), **rest)


def refused(status: int, code: str = "", param: str | None = None, **headers: str) -> Sent:
    """An error as providers send it; its message repeats something that must not reach a log."""
    told = {"error": {"message": "SECRET of the server", "type": "x", "param": param, "code": code}}
    return Sent(json.dumps(told).encode(), status, {name.replace("_", "-"): value for name, value in headers.items()})


class Server(ThreadingHTTPServer):
    """Counts what it is asked, and how much of that at once."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, answer: Callable[[Asked], Sent]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer, self.asked, self.lock = answer, [], threading.Lock()
        self.now = self.most = 0
        self.asked: list[Asked]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, *_: Any) -> None:
        """A client that hung up is what some tests are about."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: Any) -> None:
        """Nothing is logged."""

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(len(server.asked), self.path, headers, body)
            server.asked.append(asked)
            server.now += 1
            server.most = max(server.most, server.now)
        try:
            sent = server.answer(asked)
            time.sleep(sent.wait_s)
        finally:
            with server.lock:
                server.now -= 1
        with suppress(OSError):
            self.send(sent)

    do_GET = do_POST

    def send(self, sent: Sent) -> None:
        if sent.status is None:
            self.close_connection = True
            self.connection.close()
            return
        self.send_response(sent.status)
        for name, value in {"Content-Type": "application/json", **sent.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(sent.body)))
        self.end_headers()
        size = -(-len(sent.body) // sent.drops)
        for start in range(0, len(sent.body), size or 1):
            self.wfile.write(sent.body[start : start + size])
            self.wfile.flush()
            time.sleep(sent.drop_s)


@contextmanager
def serving(answer: Callable[[Asked], Sent]) -> Iterator[Server]:
    """Run a server for as long as the block."""
    server = Server(answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def in_turn(*answers: Sent) -> Callable[[Asked], Sent]:
    """Give one answer after the other, and the last one ever after."""
    return lambda asked: answers[min(asked.number, len(answers) - 1)]


def labelled(server: Server, *texts: str, **settings: Any) -> list[LabeledNote]:
    """All answers of a labeler to notes."""
    return list(llm(server, **settings).label([Note(text) for text in texts]))


def llm(server: Server, **settings: Any) -> Llm:
    """A labeler that asks a server, with little patience."""
    return Llm(**{"base_url": server.url, "model": "tiny", **FAST, **settings})
