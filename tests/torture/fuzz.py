"""Parsers of bytes, attacked by a fuzzer that keeps the inputs which reach new branches (atheris, on libFuzzer).

Whatever the bytes are, a parser reads them or refuses them in a paragraph of ours, and what `torture.parsers` says
holds; it neither hangs nor takes gigabytes. What does not survive is kept in build/fuzz.
"""

import gc
import hashlib
import importlib.util
import json
import os
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import Any, Final, NoReturn

from support.broken_models import WAYS

from torture.forks import begun, ended
from torture.inputs import TOKENS, Input, judged, spliced
from torture.parsers import PARSERS, Parser
from torture.verdicts import Verdict

_ROUND: Final = 4_000
"""Inputs of a fork: atheris never frees 50 kB and more of each."""
_ENOUGH: Final = 50
"""Faults after which a parser is left alone: there is something to mend first."""
_BYTES: Final = 2**14
_WORD: Final = 64
"""Longest token of libFuzzer's dictionary, in bytes."""
_LIMITS: Final = ("-timeout=30", "-rss_limit_mb=4096", f"-max_len={_BYTES}")
_HOURS: Final = 3600.0 * 24
_COVERED: Final = re.compile(r"cov: (\d+) ft: \d+ corp: (\d+)/")


def needs_atheris() -> str:
    """Return why nothing can be fuzzed here; "" if it can."""
    found = importlib.util.find_spec("atheris") is not None
    return "" if found else "skipped: atheris is not installed (`make torture` installs it where it has a wheel)"


def fuzzed(place: Path, count: int, rng: random.Random) -> Iterator[Verdict]:
    """Give `count` inputs to the parsers, each its share, and print which part of their branches was reached."""
    kept = Path("build/fuzz").resolve()
    shares = sum(parser.share for parser in PARSERS)
    for number, parser in enumerate(PARSERS):
        runs = max(1, count * parser.share // shares)
        told, tried = "", 0
        for first in range(0, runs, _ROUND):
            own = place / f"{number}-{first}"
            seed, size = rng.randrange(1, 2**31), min(_ROUND, runs - first)
            run = partial(
                _attack, parser, own / "files", place / f"corpus-{number}", size, seed, own / "result.json", kept
            )
            end = ended(begun(run, own), most=_HOURS)
            found = json.loads((own / "result.json").read_text()) if (own / "result.json").exists() else {}
            for outcome, times in found.get("survived", {}).items():
                yield from (Verdict(parser.name, outcome, True) for _ in range(times))
            yield from (Verdict(*fault[:2], False, fault[2]) for fault in found.get("faults", ()))
            tried, told = tried + found.get("tried", 0), f"{told}\n{end.told}"
            if end.status != 0:
                yield Verdict(parser.name, "died, hangs or takes gigabytes", False, end.told[-3000:])
            if end.status != 0 or found.get("faults"):
                break
        print(f"\rfuzz: {parser.name}: {tried:,} inputs, {_reached(told)}", flush=True)


def _reached(told: str) -> str:
    """Return what libFuzzer said of branches, first and last, and of the inputs that it kept."""
    covered, branches = _COVERED.findall(told), re.search(r"branches: (\d+)", told)
    if not covered or branches is None:
        return "nothing reached"
    first, last = covered[0][0], max(int(one) for one, _ in covered)
    return (
        f"{last:,} of {int(branches[1]):,} branches (valid files {int(first):,}), {int(covered[-1][1]):,} inputs kept"
    )


def _attack(parser: Parser, place: Path, corpus: Path, runs: int, seed: int, result: Path, kept: Path) -> NoReturn:
    """Fuzz a parser in this process, which ends with it."""
    atheris: Any = import_module("atheris")
    for function in gc.get_objects():
        if isinstance(function, FunctionType) and str(function.__module__).startswith(parser.modules):
            atheris.instrument_func(function)
    print(f"branches: {atheris._reserve_counter()}", flush=True)
    place.mkdir()
    inputs = parser.inputs(place)
    seeds = place.with_name("seeds")
    for folder in (corpus, seeds):
        folder.mkdir(exist_ok=True)
    for name, content in _seeds(inputs):
        (seeds / name).write_bytes(content)
    words = [token for token in (*TOKENS, *parser.tokens) if len(token) <= _WORD]
    dictionary = place.with_name("dictionary")
    dictionary.write_text("".join('"' + "".join(rf"\x{byte:02x}" for byte in word) + '"\n' for word in words))
    ways = [f"-seed={seed}", f"-dict={dictionary}", f"-artifact_prefix={kept}/", *_LIMITS]
    kept.mkdir(parents=True, exist_ok=True)

    def mutated(data: bytes, size: int, seed: int) -> bytes:
        own = random.Random(seed)
        way = own.choice((atheris.Mutate, _spliced, _retyped))
        found: bytes = way(data, len(data)) if way is atheris.Mutate else way(data, words, own)
        return found[:size]

    report = _Report(parser, inputs, runs, result, kept)
    atheris.Setup([sys.argv[0], *ways, str(corpus), str(seeds)], report.take, custom_mutator=mutated)
    atheris.Fuzz()
    raise AssertionError("the fuzzer ends with its process")


def _spliced(data: bytes, words: Sequence[bytes], rng: random.Random) -> bytes:
    """Return an input after `spliced`, or with a token before it."""
    return data[:1] + (spliced(data[1:], rng) if rng.random() < 0.9 else rng.choice(words) + data[1:])


def _retyped(data: bytes, words: Sequence[bytes], rng: random.Random) -> bytes:
    """Return an input of which a line, if it is JSON, has another value or name in one place, and else is cut."""
    lines = data[1:].split(b"\n")
    place = rng.randrange(len(lines))
    try:
        lines[place] = WAYS["retyped"](lines[place], rng) or b""
    except RecursionError:  # of Python's own reader
        return _spliced(data, words, rng)
    return data[:1] + b"\n".join(lines)


def _seeds(inputs: Sequence[Input]) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the valid files, and of some with a long token in the middle; see `_Report.take`."""
    long = [token for token in TOKENS if len(token) > _WORD]
    for number, one in enumerate(inputs):
        own = [
            one.content,
            *(one.content[: (half := len(one.content) // 2)] + token + one.content[half:] for token in long),
        ]
        yield from ((f"{number}-{way}", bytes([number]) + content) for way, content in enumerate(own))


class _Report:
    """Takes inputs, of which the first byte chooses the file and the reader, and counts what came of them."""

    def __init__(self, parser: Parser, inputs: Sequence[Input], runs: int, result: Path, kept: Path) -> None:
        self._parser, self._inputs, self._left = parser, inputs, runs
        self._result, self._kept, self._tried = result, kept, 0
        self._survived, self._faults = Counter[str](), dict[str, tuple[str, str, str]]()

    def take(self, data: bytes) -> None:
        """Read an input; write what came of all after some, and end the process after the last."""
        one = self._inputs[data[0] % len(self._inputs) if data else 0]
        path, content = one.folder / one.name, data[1:]
        path.write_bytes(content)
        verdict = judged(f"{self._parser.name}, {one.name}", one, content)
        path.write_bytes(one.content)
        self._tried, self._left = self._tried + 1, self._left - 1
        if verdict.survived:
            self._survived[verdict.outcome] += 1
        else:
            self._fail(verdict, data)
        if self._left <= 0 or len(self._faults) >= _ENOUGH or self._tried % 1000 == 0:
            told = {"tried": self._tried, "survived": self._survived, "faults": [*self._faults.values()]}
            self._result.write_text(json.dumps(told), encoding="utf-8")
        if self._left <= 0 or len(self._faults) >= _ENOUGH:
            os._exit(0)

    def _fail(self, verdict: Verdict, data: bytes) -> None:
        """Keep an input that did not survive, once for each place in the code."""
        places = re.findall(r'File "[^"]*/(?:clinlm|torture)/([^"]*)", line (\d+)', verdict.told)
        name = f"{verdict.outcome} {places[-1] if places else verdict.told[:200]}"
        if name not in self._faults:
            file = self._kept / hashlib.sha256(data).hexdigest()[:12]
            file.write_bytes(data)
            self._faults[name] = (f"{verdict.attack}, kept as {file}", verdict.outcome, verdict.told)
