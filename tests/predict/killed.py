"""Run `clinlm-predict` in child processes that are killed, until one comes to its end.

Reads lines of JSON, [seed, [KEY=VALUE, ...]], and answers each with a line: how many attempts were killed, and the
largest memory of the last one in MiB. Imports once, then forks: nothing computes before the fork. The first three
attempts and every other one after them kill themselves with SIGKILL just before a random one of the calls that make
anything durable; the rest are killed from outside after a random time, which a fast machine may not need. With the seed
0 nothing is killed.
"""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clinlm.measure.memory import peak_mib
from clinlm.predict.run import predict
from clinlm.predict.settings import Settings

MEMORY = Path(sys.argv[1])
"""The file through which a child tells its memory."""


def fragile(calls: int) -> None:
    """Let this process die just before the given number of durable calls is reached."""
    left = [calls]

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def die_or(*arguments: Any, **settings: Any) -> Any:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **settings)

        return die_or

    for name in ("fsync", "replace", "unlink"):
        setattr(os, name, counted(getattr(os, name)))


def child(settings: Settings, calls: int) -> int:
    """Fork; the child runs, its parent gets its number."""
    number = os.fork()
    if not number:
        status = 1
        try:
            fragile(calls)
            predict(settings)
            MEMORY.write_text(str(peak_mib()))
            status = 0
        finally:
            os._exit(status)
    return number


def until_done(seed: int, arguments: list[str]) -> dict[str, float]:
    """Run until an attempt ends by itself."""
    rng, settings, killed = random.Random(seed), Settings.of(arguments), 0
    for attempt in range(200):
        by_itself = attempt < 3 or attempt % 2 == 0
        calls = rng.randint(4, 12 if attempt < 3 else 30)
        number = child(settings, calls if seed and by_itself else 0)
        if seed and not by_itself:
            time.sleep(rng.uniform(0.05, 0.5))
            os.kill(number, signal.SIGKILL)
        _, status = os.waitpid(number, 0)
        if not status:
            return {"killed": killed, "mib": float(MEMORY.read_text())}
        if not os.WIFSIGNALED(status):
            sys.exit("a child failed by itself")
        killed += 1
    sys.exit("no attempt came to its end")


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(until_done(*json.loads(line))), flush=True)
