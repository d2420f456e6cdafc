"""Progress of a run on disk, written after every window, so that a killed run continues from there."""

import json
import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self, final

from clinlm.config.errors import ConfigError, DataError
from clinlm.files.record import Position
from clinlm.predict.durable_file import write_whole
from clinlm.store.content import with_digest
from clinlm.store.key import digest

ENDING = ".progress.json"
_VERSION = 2
_DIGEST = re.compile("[0-9a-f]{12,64}")


@final
@dataclass(frozen=True)
class Progress:
    """What is written and counted so far.

    Attributes:
        output: position of the output, see `Sink.position`.
        rejects_bytes: size of the file of rejects.
        predicted: number of notes or spans with each label.
        seconds: of reading and answering, over all attempts.
        shadow: counts of the comparison of two models; None without a shadow.
        totals: further counts, by name.
        complete: whether the input is read to its end and the output is in its final form.
    """

    place: Position = Position()
    output: int = 0
    rejects_bytes: int = 0
    documents: int = 0
    rejects: int = 0
    predicted: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    shadow: dict[str, Any] | None = None
    totals: dict[str, float] = field(default_factory=dict)
    complete: bool = False


@final
class Journal:
    """The file `<output>.progress.json`; in memory only for a run that cannot be resumed.

    Args:
        promises: settings that must be the same when the run continues, by name. JSON.
    """

    def __init__(self, path: Path | None, promises: dict[str, Any], progress: Progress) -> None:
        self.path, self.promises, self.progress = path, promises, progress

    @classmethod
    def opened(cls, path: Path | None, promises: dict[str, Any], written: list[Path]) -> Self:
        """Return the journal of an earlier run, or begin one.

        Args:
            path: of the file; None for none.
            promises: settings that must be the same when the run continues, by name. JSON.
            written: files that a new run must not overwrite.

        Raises:
            ConfigError: the run was begun with other settings, or a file to be written already exists.
            DataError: the journal is damaged.
        """
        if path is not None and path.is_file():
            return cls(path, promises, _read(path, promises))
        existing = [str(file) for file in written if file.exists()]
        if existing:
            raise ConfigError(
                f"a new run must not overwrite files, but {' and '.join(existing)} already exists; delete it, or set "
                "another output"
            )
        journal = cls(path, promises, Progress())
        journal.commit(journal.progress)
        return journal

    def commit(self, progress: Progress) -> None:
        """Record that everything in `progress` is on disk."""
        self.progress = progress
        if self.path is not None:
            facts = {"version": _VERSION, "begun_with": self.promises, **asdict(progress)}
            facts = with_digest(facts | {"place": list(progress.place)}, self.path.name)
            write_whole(self.path, (json.dumps(facts, ensure_ascii=False, allow_nan=False) + "\n").encode())

    def complete(self) -> None:
        """Record that the whole run is finished."""
        self.commit(replace(self.progress, complete=True))


def _read(path: Path, promises: dict[str, Any]) -> Progress:
    remedy = f"delete the output, its rejects and {path.name} to start again, or set another output"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        own = facts.pop("digest", "") == digest([path.name, facts])
        version, begun = facts.pop("version"), facts.pop("begun_with")
        progress = Progress(**{**facts, "place": Position(*facts["place"])})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DataError(f"the progress of a run must be readable, but {path} is damaged; {remedy}") from None
    if version != _VERSION:
        raise DataError(f"{path} must have format {_VERSION}, got {version}; {remedy}")
    if not own:
        raise DataError(f"the progress of a run must be as it was written, but {path} is damaged; {remedy}")
    other = sorted(name for name in {*promises, *begun} if promises.get(name) != begun.get(name))
    if other and progress != Progress():  # a run that failed before its first record may begin with other settings
        changes = ", another ".join(f"{name}{_change(begun.get(name), promises.get(name))}" for name in other)
        raise ConfigError(
            f"a run must continue with its settings, but {path} was begun with another {changes}; set it back, or "
            f"{remedy}"
        )
    return progress


def _change(before: Any, now: Any) -> str:
    """Return what a setting was and is; "" for a digest, which says nothing to a reader."""
    if isinstance(before, dict) and isinstance(now, dict):
        if before.get("bytes") != now.get("bytes"):
            return f" ({before.get('bytes'):,} bytes before, {now.get('bytes'):,} now)"
        return " (as many bytes, but changed since)"
    digests = [value for value in (before, now) if isinstance(value, str) and _DIGEST.fullmatch(value)]
    return "" if digests else f" ({before} before, {now} now)"


def is_complete(path: Path) -> bool:
    """Return whether the run of this journal is finished, if it has begun at all."""
    try:
        return bool(json.loads(path.read_text(encoding="utf-8"))["complete"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
