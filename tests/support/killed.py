"""Run a command in child processes that are killed, until one comes to its end: `clinlm-predict` or `clinlm-label`.

As a script it reads lines of JSON, [seed, [ARGUMENT, ...]], and answers each with a line: how many attempts were
killed, and the largest memory of the last one in MiB. It imports once, then forks: nothing computes before the fork.
The first three attempts and every other one after them kill themselves with SIGKILL just before a random one of the
calls that make anything durable; the rest are killed from outside after a random time, which a fast machine may not
need. With the seed 0 nothing is killed.
"""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from clinlm.predict.settings import LabelSettings, PredictSettings

UntilDone = Callable[[int, Sequence[str]], dict[str, float]]
ROOT = Path(__file__).parents[2]


@contextmanager
def killing(command: str, folder: Path) -> Iterator[UntilDone]:
    """Yield what runs a command, with a seed and arguments, until it is not killed.

    Args:
        command: predict or label.
        folder: of its own.
    """
    with subprocess.Popen(
        [sys.executable, __file__, command, str(folder / "mib")],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin and process.stdout
        pipe, answers = process.stdin, process.stdout

        def until_done(seed: int, arguments: Sequence[str]) -> dict[str, float]:
            pipe.write(json.dumps([seed, list(arguments)]) + "\n")
            pipe.flush()
            told: dict[str, float] = json.loads(answers.readline())
            return told

        yield until_done


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


def peak_mib() -> float:
    """Return the largest memory of this process, which was forked: the system then counts from there."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)


class Attempts:
    """Attempts at one command.

    Args:
        command: predict or label.
        memory: the file through which a child tells its memory.
    """

    def __init__(self, command: str, memory: Path) -> None:
        self.memory = memory
        module = {"predict": "model_answerer", "label": "label"}[command]
        self.run = getattr(import_module(f"clinlm.predict.{module}"), f"{command}_file")
        self.settings = {"predict": PredictSettings, "label": LabelSettings}[command]

    def child(self, settings: Any, calls: int) -> int:
        """Fork; the child runs, its parent gets its number."""
        number = os.fork()
        if not number:
            status = 1
            try:
                fragile(calls)
                self.run(settings)
                self.memory.write_text(str(peak_mib()))
                status = 0
            finally:
                os._exit(status)
        return number

    def until_done(self, seed: int, arguments: list[str]) -> dict[str, float]:
        """Run until an attempt ends by itself."""
        rng, settings, killed = random.Random(seed), self.settings.of(arguments), 0
        for attempt in range(200):
            by_itself = attempt < 3 or attempt % 2 == 0
            calls = rng.randint(4, 12 if attempt < 3 else 30)
            number = self.child(settings, calls if seed and by_itself else 0)
            if seed and not by_itself:
                time.sleep(rng.uniform(0.05, 0.5))
                os.kill(number, signal.SIGKILL)
            _, status = os.waitpid(number, 0)
            if not status:
                return {"killed": killed, "mib": float(self.memory.read_text())}
            if not os.WIFSIGNALED(status):
                sys.exit("a child failed by itself")
            killed += 1
        sys.exit("no attempt came to its end")


if __name__ == "__main__":
    attempts = Attempts(sys.argv[1], Path(sys.argv[2]))
    for line in sys.stdin:
        print(json.dumps(attempts.until_done(*json.loads(line))), flush=True)
