"""How far a run has come, on disk: written after every window, so that a run that was killed goes on from there."""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self, final

from clinlm.files.record import Position
from clinlm.predict.sink import write_whole

ENDING = ".progress.json"
_VERSION = 1


@final
@dataclass(frozen=True)
class Progress:
    """What is written and counted.

    Attributes:
        place: where the reader stands.
        output: position of the output, see `Sink.position`.
        rejects_bytes: of the file of rejects.
        documents: notes answered.
        rejects: records rejected.
        predicted: for every label, by how many notes it is predicted, or how many spans have it.
        seconds: that reading and answering took, over all attempts.
        shadow: what the comparison of two models has counted; None without a shadow.
        totals: what else was counted, by name.
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
        path: of the file; None for none.
        promises: all that must be the same when the run goes on, by name.
        progress: what it says.
    """

    def __init__(self, path: Path | None, promises: dict[str, Any], progress: Progress) -> None:
        self.path, self.promises, self.progress = path, promises, progress

    @classmethod
    def opened(cls, path: Path | None, promises: dict[str, Any], written: list[Path]) -> Self:
        """Return the journal of a run begun before, or begin one.

        Args:
            path: of the file; None for none.
            promises: all that must be the same when the run goes on, by name. JSON.
            written: files that a run which begins must not find.

        Raises:
            ValueError: the run was begun with another promise, or a file to be written is there already.
        """
        if path is not None and path.is_file():
            return cls(path, promises, _read(path, promises))
        there = [str(one) for one in written if one.exists()]
        if there:
            raise ValueError(
                f"a run begins with files of its own and overwrites none; {' and '.join(there)} is there already; "
                "delete it, or set another output"
            )
        journal = cls(path, promises, Progress())
        journal.commit(journal.progress)
        return journal

    def commit(self, progress: Progress) -> None:
        """Declare that everything `progress` tells of is on disk."""
        self.progress = progress
        if self.path is not None:
            told = {"version": _VERSION, "begun_with": self.promises, **asdict(progress), "place": list(progress.place)}
            write_whole(self.path, (json.dumps(told, ensure_ascii=False, allow_nan=False) + "\n").encode())

    def complete(self) -> None:
        """Declare the whole run finished."""
        self.commit(replace(self.progress, complete=True))


def _read(path: Path, promises: dict[str, Any]) -> Progress:
    remedy = f"delete the output, its rejects and {path.name} to begin anew, or set another output"
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        version, begun = told.pop("version"), told.pop("begun_with")
        progress = Progress(**{**told, "place": Position(*told["place"])})
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"a run goes on from its journal; {path} is damaged; {remedy}") from None
    if version != _VERSION:
        raise ValueError(f"a run goes on with the version that began it; {path} is of another; {remedy}")
    other = sorted(name for name in {*promises, *begun} if promises.get(name) != begun.get(name))
    if other:
        raise ValueError(
            f"a run goes on with what it was begun with; {path} tells of another {', another '.join(other)}; set it "
            f"back, or {remedy}"
        )
    return progress
