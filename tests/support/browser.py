"""Headless Chromium, driven over a pipe by the DevTools protocol: no package is needed besides the browser."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
_INSTALL = ("apt-get", "install", "-y", "--no-install-recommends", "chromium")
_SECONDS = 60
"""That an answer or an event may take."""
_PLACES = """import os, sys
received, sent = map(int, sys.argv[1:3])
os.dup2(received, 3)
os.dup2(sent, 4)
os.execv(sys.argv[3], sys.argv[3:])"""
"""Runs the browser with the protocol's pipes as files 3 and 4. A process of its own: code between fork and exec
(`preexec_fn`) may wait for ever for a lock that another thread held."""
_OWN = ("data:", "chrome:", "about:", "blob:")
"""Schemes of what is no request."""


def find_browser() -> str:
    """Return the path of the browser, installed where that takes only root; skip the test where there is none."""
    for attempt in (False, True):
        for name in NAMES:
            path = shutil.which(name)
            if path is not None:
                return path
        if attempt or os.geteuid() != 0 or shutil.which(_INSTALL[0]) is None:
            break
        subprocess.run([_INSTALL[0], "update"], capture_output=True)
        subprocess.run(_INSTALL, capture_output=True, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"})
    pytest.skip(f"needs one of {', '.join(NAMES)}; installing Debian's package chromium needs root and its archive")


class Page:
    """An open page.

    Attributes:
        problems: errors on the console, exceptions, and what the page's policy refused.
        requests: addresses that it asked for, besides its own file.
    """

    def __init__(self, sent: int, received: int) -> None:
        self._sent, self._received, self._buffer, self._number, self._session = sent, received, b"", 0, ""
        self._events: list[dict[str, Any]] = []
        self.problems: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Return the answer to a command of the protocol; fail where it is an error."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._sent, json.dumps(message).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") == self._number:
                assert "error" not in found, (method, found["error"])
                result: dict[str, Any] = found["result"]
                return result

    def open(self, file: Path, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Load a file at a size of the window, and wait until its script has run."""
        self.problems, self.requests, self._events = [], [], []
        phone = width < 600
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media="", features=[scheme])
        self.call("Page.navigate", url=file.resolve().as_uri())
        self.wait_for("Page.loadEventFired")

    def run(self, script: str) -> Any:
        """Return the value of an expression in the page; fail where it raises."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def mouse(self, kind: str, x: float, y: float) -> None:
        """Move to a place, or press and release there (`kind` is "move" or "click")."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        for own in ("mousePressed", "mouseReleased") if kind == "click" else ():
            self.call("Input.dispatchMouseEvent", type=own, x=x, y=y, button="left", clickCount=1)

    def key(self, key: str, text: str = "") -> None:
        """Press a key."""
        code = {"Enter": 13, "Tab": 9, "Escape": 27, "ArrowLeft": 37, "ArrowRight": 39}.get(key, 0)
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, text=text, windowsVirtualKeyCode=code)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def screenshot(self, path: Path, whole: bool = True) -> None:
        """Write what is seen, or the whole page, as PNG."""
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def pdf(self, path: Path) -> None:
        """Write the page as it prints."""
        found = self.call("Page.printToPDF", preferCSSPageSize=True, printBackground=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def wait_for(self, event: str) -> None:
        """Return once an event has come."""
        while not any(own["method"] == event for own in self._events):
            self._next()

    def _next(self) -> dict[str, Any]:
        """Return the next message; note problems and requests."""
        until = time.monotonic() + _SECONDS
        while b"\0" not in self._buffer:
            # A read alone would wait for ever for a browser that hangs.
            ready, _, _ = select.select([self._received], [], [], max(until - time.monotonic(), 0))
            assert ready, "the browser does not answer"
            piece = os.read(self._received, 1 << 20)
            assert piece, "the browser has ended"
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\0")
        found: dict[str, Any] = json.loads(line)
        if "method" in found:
            self._events.append(found)
            self._note(found["method"], found["params"])
        return found

    def _note(self, event: str, content: dict[str, Any]) -> None:
        if event == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(content["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and content["type"] in ("error", "warning", "assert"):
            self.problems.append(json.dumps(content["args"]))
        elif event == "Log.entryAdded" and content["entry"]["level"] in ("error", "warning"):
            self.problems.append(content["entry"]["text"])
        elif event == "Network.requestWillBeSent" and not content["request"]["url"].startswith(_OWN):
            if content.get("type") != "Document":
                self.requests.append(content["request"]["url"])


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """Start the browser with a profile in `folder`, and end it."""
    to_browser, from_browser = os.pipe(), os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (to_browser[0], from_browser[1])]

    command = [
        *(find_browser(), "--headless=new", "--remote-debugging-pipe", f"--user-data-dir={folder}", "--no-first-run"),
        *("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions", "--hide-scrollbars"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-pings"),
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", _PLACES, *map(str, high), *command],
        pass_fds=high,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for end in (to_browser[0], from_browser[1], *high):
        os.close(end)
    try:
        yield Page(to_browser[1], from_browser[0])
    finally:
        for end in (to_browser[1], from_browser[0]):
            os.close(end)
        process.terminate()
        try:
            process.wait(timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
