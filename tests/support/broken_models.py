"""Folders of models with one file broken, and what `clinlm predict` says of them."""

import contextlib
import io
import json
import pickle
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from clinlm.cli.main import run_command
from clinlm.store.content import RECORD, seal

NOTE = "fever and cough , wheeze ; no toe pain . urate 7 mg"
NEVER_READ = ("README.md", "report.json", "predictions.safetensors", "config.json", "logits", "logs")
"""Parts of a folder that answering does not read."""
_LONG = ("\ud800", "x" * 300, "9" * 5000)
"""Texts that no encoding can write, no file can have as its name, and Python reads as no number."""
_VALUES: tuple[Any, ...] = (None, True, -1, 0, 3.5, 10**30, "", "x", "../x", [], [1], {}, {"a": 1}, *_LONG)


def _flip(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 3, 50))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    """Yield what holds a value, and the key or number under which it does; of long lists some."""
    keys = content if isinstance(content, dict) else range(min(len(content), 8)) if isinstance(content, list) else ()
    for key in keys:
        yield content, key
        yield from _places(content[key])


def _retyped(content: bytes, rng: random.Random) -> bytes:
    """Give one place of a JSON file another value or name, add to it, or take it away; anything else is cut."""
    try:
        whole = json.loads(content)
    except ValueError:
        return _cut(content, rng)
    places = [*_places(whole)]
    if not places or rng.random() < 0.1:
        return json.dumps(rng.choice(_VALUES)).encode()
    holder, key = rng.choice(places)
    change = rng.choice(("value", "value", "taken", "renamed", "longer"))
    if change == "taken":
        del holder[key]
    elif change == "renamed" and isinstance(holder, dict):
        holder[f"{key}s"] = holder.pop(key)
    elif change == "longer" and isinstance(holder, dict):
        holder[f"{key}s"] = rng.choice(_VALUES)
    elif change == "longer":
        holder.insert(key, holder[key])
    else:
        holder[key] = rng.choice(_VALUES)
    return json.dumps(whole).encode()


WAYS: dict[str, Callable[[bytes, random.Random], bytes | None]] = {
    "flipped": _flip,
    "cut": _cut,
    "empty": lambda content, rng: b"",
    "deleted": lambda content, rng: None,
    "noise": lambda content, rng: rng.randbytes(max(1, min(len(content), 4096))),
    "a pickle": lambda content, rng: pickle.dumps(Counter()),
    "retyped": _retyped,
}
"""Name -> from the bytes of a file to those in their place; None to delete it."""


class Broken(NamedTuple):
    """One attack: a file, the way, and what vouches for the folder afterwards (the old record, none, or a new one)."""

    file: str
    way: str
    record: str


def attacks(folder: Path, rng: random.Random) -> Iterator[Broken]:
    """Yield random attacks on the files of a model that answering reads."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    files = [name for name in names if name.partition("/")[0] not in NEVER_READ]
    while True:
        file = rng.choice(files)
        ways = [way for way in WAYS if way != "retyped" or file.endswith(".json")]
        weights = [4 if way == "retyped" else 1 for way in ways]
        yield Broken(file, rng.choices(ways, weights)[0], rng.choices(("kept", "none", "made again"), (1, 4, 4))[0])


def break_copy(folder: Path, place: Path, attack: Broken, rng: random.Random) -> Path:
    """Return a copy of a model after an attack."""
    names = [path for path in folder.iterdir() if path.name not in ("logits", "logs")]
    place.mkdir()
    for path in names:
        (shutil.copytree if path.is_dir() else shutil.copy)(path, place / path.name)
    content = WAYS[attack.way]((place / attack.file).read_bytes(), rng)
    if content is None:
        (place / attack.file).unlink()
    else:
        (place / attack.file).write_bytes(content)
    if attack.record != "kept" and attack.file != RECORD:
        (place / RECORD).unlink(missing_ok=True)
        if attack.record == "made again":
            seal(place, {"key": "0"})
    return place


def predicting(model: Path, place: Path) -> list[str]:
    """Return the arguments of `clinlm predict` with a model on a file of notes, which is written to `place`."""
    lines = [json.dumps({"id": number, "text": NOTE * often}) for number, often in ((1, 1), (2, 40))]
    (place / "notes.jsonl").write_text("\n".join(lines))
    return [f"artifact={model}", f"input={place / 'notes.jsonl'}", f"output={place / 'out.csv'}", "threads=1"]


def said_by_predict(model: Path, place: Path) -> tuple[int, str]:
    """Return the exit status of `clinlm predict` with a model, and what it printed."""
    told = io.TextIOWrapper(io.BytesIO(), "utf-8")
    arguments = predicting(model, place)
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        try:
            run_command("predict", arguments)
        except SystemExit as ended:
            status = int(ended.code or 0)
        else:
            status = 0
    told.flush()
    return status, told.buffer.getvalue().decode()  # type: ignore[attr-defined]


def judged(status: int, told: str, model: Path) -> str:
    """Return what came of an attack: served, refused, or what must not be."""
    if "Traceback" in told:
        return "TRACEBACK"
    if status and str(model) not in told and model.name not in told:
        return "NOT NAMED"
    return "refused" if status else "served"
