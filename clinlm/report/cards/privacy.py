"""What a card never holds: where files are on the machine of the user."""

import re
import shlex
from collections.abc import Iterable
from typing import Final

HIDDEN: Final = "…"
"""Stands for a path."""

_PATH: Final = re.compile(r"(?<![\w/.:…-])(?:~|(?=/)|[A-Za-z]:(?=[\\/]))(?:[\\/][\w.@+-]+){2,}[\\/]?")
"""An absolute path, or one in the home folder, of two parts at least, so that "/day" and "mg/dL" are none."""
_HUB: Final = re.compile(r"[\w.-]+/[\w.-]+")
"""The name of a repository of the hub."""
_PLACES: Final = re.compile(r"(?:^|\.)(?:root|store|dir|folder|path|cache|file|files|table)$")
_ELSEWHERE: Final = re.compile(r"\+{0,2}(?:hydra|logger|store|staging|upload)\b")
"""Settings that change where a run happens, and not what comes out."""
_FILE: Final = re.compile(r"\.\w{1,8}(?:\.gz)?$")


def without_paths(text: str) -> str:
    """Return `text` with every absolute path replaced by `HIDDEN`."""
    return _PATH.sub(HIDDEN, text)


def is_hub_name(name: str) -> bool:
    """Return whether a checkpoint is named as on the Hugging Face hub, and not by a folder."""
    return re.fullmatch(r"[\w-][\w.-]*(?:/[\w-][\w.-]*)?", name) is not None


def shown_overrides(overrides: Iterable[str]) -> list[str]:
    """Return the overrides that shape a result; a value that may be a path is replaced by `HIDDEN`."""
    shown = []
    for override in overrides:
        if not _ELSEWHERE.match(override):
            name, equals, value = override.partition("=")
            shown.append(f"{name}={HIDDEN}" if equals and _may_be_path(name, value) else without_paths(override))
    return shown


def shown_command(overrides: Iterable[str]) -> str:
    """Return the command with these overrides, without paths."""
    return " ".join(["clinlm", *(own if HIDDEN in own else shlex.quote(own) for own in shown_overrides(overrides))])


def _may_be_path(name: str, value: str) -> bool:
    """Return whether a setting may say where something is; the name of a model on the hub does not."""
    if _PLACES.search(name):
        return True
    if not re.search(r"[\\/]|^[~.]", value):
        return False
    return not (name.endswith("name") and _HUB.fullmatch(value) and not _FILE.search(value))
