"""Others on the same store: a process that is killed or stopped, another version, a file system without locks."""

import errno
import fcntl
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from clinlm.store import own_code, sources
from clinlm.store.content import RECORD
from clinlm.store.key import digest
from torture.forks import Ended, begun, clinlm_run, ended, forked
from torture.runs import PIPELINE, difference, pipeline, stored, unbroken
from torture.verdicts import Verdict


def others(place: Path, count: int, rng: random.Random) -> Iterator[Verdict]:
    """Attack with others on the store, one after the other."""
    for number in range(count):
        name = list(_ATTACKS)[number % len(_ATTACKS)]
        own = place / str(number)
        yield _ATTACKS[name](own, rng)._replace(attack=f"{name}, number {number}")


def _beside(sent: int, outcome: str) -> Callable[[Path, random.Random], Verdict]:
    """Return an attack: two runs at once, of which one gets a signal at a random moment, and is killed in the end."""

    def attack(own: Path, rng: random.Random) -> Verdict:
        seconds = unbroken().seconds
        other = begun(pipeline(own, f"hydra.run.dir={own / 'other'}"), own / "first")
        time.sleep(rng.uniform(0.1, seconds))
        other.send(sent)
        second = begun(pipeline(own), own)
        time.sleep(3.0 if sent == signal.SIGSTOP else 0.0)
        other.send(signal.SIGKILL)
        ended(other)
        end = ended(second)
        waited = "waiting for process" in end.told
        if sent == signal.SIGSTOP and waited and "which is stopped" not in end.told:
            return Verdict("", "waited without a word on the stopped one", False, end.told)
        return _equal(end, own, outcome)

    return attack


def _unlocked(number: int, own: Path) -> Ended:
    def flock(file: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    def run() -> None:
        system: Any = fcntl
        system.flock = flock
        pipeline(own)()

    return forked(run, own)


def _without_locks(own: Path, rng: random.Random) -> Verdict:
    number = rng.choice([errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
    return _equal(_unlocked(number, own), own, "ended as unbroken")


def _of_later(change: dict[str, Any], said: str) -> Callable[[Path, random.Random], Verdict]:
    """Return an attack: the record of one stage is that of a later version; `said` is what must be told, "" for use."""

    def attack(own: Path, rng: random.Random) -> Verdict:
        shutil.copytree(unbroken().place, own)
        path = rng.choice(sorted((own / "store").glob(f"*/{RECORD}")))
        record = json.loads(path.read_text(encoding="utf-8")) | change
        del record["digest"]
        path.write_text(json.dumps(record | {"digest": digest(record)}), encoding="utf-8")
        end = forked(pipeline(own), own)
        if not said:
            return _equal(end, own, "used")
        wrong = end.broken or ("" if end.status == 1 and said in end.told else f"status {end.status}")
        left = stored(own / "store") == stored(unbroken().place / "store")
        return Verdict("", wrong or "refused in a paragraph", left and not wrong, end.told)

    return attack


def _of_other_code(own: Path, rng: random.Random) -> Verdict:
    """Run as a version whose code differs in one module, on a store of ours; then ours again."""
    shutil.copytree(unbroken().place, own)
    before = stored(own / "store")
    module = rng.choice(["clinlm.models.model", "clinlm.tasks.batches", "callbacks.keep_best"])

    def run() -> None:
        found, on_disk = sources._definition, own_code._on_disk

        def definition(name: str, defined: str) -> Any:
            code, reached = found(name, defined)
            return (f"other{code}" if name == module else code), reached

        own_module: Any = sources
        own_module._definition = definition
        own_module = own_code
        own_module._on_disk = lambda: ("other", on_disk()[1])
        clinlm_run(*PIPELINE, f"store={own / 'store'}", f"hydra.run.dir={own / 'other'}")()

    other = forked(run, own)
    after = stored(own / "store")
    changed = [name for name in before if after.get(name) != before[name]]
    if other.broken or other.status != 0 or changed or len(after) == len(before):
        told = f"{other.told}\n{module}: {changed or len(after) - len(before)}"
        return Verdict("", other.broken or "touched what it did not make, or made nothing", False, told)
    again = forked(pipeline(own), own)
    kept = again.status == 0 and stored(own / "store") == after
    return Verdict("", "both in one store" if kept else "the first built something again", kept, again.told)


def _equal(end: Ended, own: Path, outcome: str) -> Verdict:
    if end.broken or end.status != 0:
        return Verdict("", end.broken or "the run failed", False, end.told)
    wrong = difference(own, unbroken().place)
    return Verdict("", "ended otherwise" if wrong else outcome, not wrong, wrong)


_ATTACKS: Final[dict[str, Callable[[Path, random.Random], Verdict]]] = {
    "no flock (ENOLCK, EOPNOTSUPP, ENOSYS)": _without_locks,
    "a record of a later format": _of_later({"format": 99}, "later version"),
    "a record with an unknown field": _of_later({"news": [1]}, ""),
    "another run is killed": _beside(signal.SIGKILL, "ended as unbroken"),
    "another run is stopped": _beside(signal.SIGSTOP, "ended as unbroken"),
    "a version with other code": _of_other_code,
}
