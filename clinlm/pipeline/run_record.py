"""What a finished pipeline leaves in its folder: `run.json`, all that a report reads besides the store."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Self, final

from clinlm.config.errors import ClinlmError, DataError
from clinlm.pipeline.protocol import Protocol
from clinlm.store.content import with_digest, write_files
from clinlm.store.key import digest

RUN: Final = "run.json"


@final
@dataclass(frozen=True)
class StageRecord:
    """A finished stage.

    Attributes:
        role: teacher or student.
        folder: of its artifact, absolute.
        cached: whether the store had it before the run.
        techniques: keys of `clinlm.pipeline.gates.TECHNIQUES` that compressed it, ancestors included.
        teachers: names of those whose logits it learned from.
        settings: what it read; see `clinlm.config.chosen.chosen_settings`.
    """

    name: str
    role: str
    folder: str
    cached: bool
    techniques: tuple[str, ...] = ()
    teachers: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Of its artifact: the end of the name of its folder."""
        return self.folder.rpartition("-")[2]

    @property
    def configured(self) -> str:
        """Name of the stage of the configuration, which members of an ensemble share: of its folder, before the key."""
        return Path(self.folder).name.rpartition("-")[0]


@final
@dataclass(frozen=True)
class TaskRecord:
    """The task of a run.

    Attributes:
        settings: that open it again.
        notices: what was dropped, and why.
    """

    key: str
    settings: Mapping[str, Any]
    facts: Mapping[str, Any]
    notices: tuple[str, ...]


@final
@dataclass(frozen=True)
class RunRecord:
    """A finished pipeline.

    Attributes:
        seed: of training.
        monitor: the metric on validation that training monitored, such as val/macro_f1.
        gate: settings of the gate; None for none.
        gates: settings of every gate in conf/gate.
        device: settings of every device chosen, by name.
        external: settings of the external corpus; None for none.
        resplits: on how many splits the command repeats this pipeline; this run is one of them.
        nested: whether test stays closed: reports are of the validation documents.
        protocol: the non-inferiority margin, and when it was fixed; None for none.
        settings: what it read; see `clinlm.config.chosen.chosen_settings`.
        logger: settings of the logger; None where it is not known.
        place: folder that it was read from; None before.
    """

    pipeline: str
    seed: int
    overrides: tuple[str, ...]
    store: str
    monitor: str
    task: TaskRecord
    stages: tuple[StageRecord, ...]
    report: Mapping[str, Any]
    gate: Mapping[str, Any] | None
    gates: tuple[Mapping[str, Any], ...]
    device: Mapping[str, Any]
    external: Mapping[str, Any] | None
    resplits: int = 1
    nested: bool = False
    protocol: Protocol | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    logger: Mapping[str, Any] | None = None
    place: Path | None = field(default=None, compare=False)

    @property
    def split(self) -> Literal["validation", "test"]:
        """The split whose documents reports are of."""
        return "validation" if self.nested else "test"

    def write(self, folder: Path) -> None:
        """Write run.json into `folder`."""
        content = {name: own for name, own in asdict(self).items() if name != "place"}
        write_run_file(folder / RUN, content)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read run.json of `folder`.

        Raises:
            DataError: it is damaged.
        """
        content = read_run_file(folder / RUN)
        with as_written(folder / RUN):
            task = content["task"] | {"notices": tuple(content["task"]["notices"])}
            lists = ("techniques", "teachers")
            stages = [StageRecord(**(own | {name: tuple(own[name]) for name in lists})) for own in content["stages"]]
            content |= {name: tuple(content[name]) for name in ("overrides", "gates")}
            protocol = Protocol(**content["protocol"]) if content.get("protocol") else None
            read = {"task": TaskRecord(**task), "stages": tuple(stages), "protocol": protocol, "place": folder}
            return cls(**(content | read))


def run_file(name: str, content: Mapping[str, Any]) -> str:
    """Return the text of a JSON file of a run or a sweep, with a digest of its name and content: see `read_run_file`.

    Args:
        name: of the file.
    """
    return json.dumps(with_digest(content, name), indent=1, ensure_ascii=False) + "\n"


def write_run_file(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file of a run or a sweep, atomically: see `run_file`."""
    write_files(path.parent, {path.name: run_file(path.name, content)})


def read_run_file(path: Path) -> dict[str, Any]:
    """Return the contents of a JSON file of a run or a sweep, exactly as they were written.

    Whoever reads such a file reads it here: what comes from it then has the fields, types and lengths that its writer
    gave it, as nothing else has its digest.

    Raises:
        DataError: the file is damaged, was changed, is that of another name, or has no digest.
    """
    with as_written(path):
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("digest") == digest([path.name, content]):
            return content
        raise ValueError("another digest")


@contextmanager
def as_written(path: Path) -> Iterator[Path]:
    """Name the file of a run that is read in this block where it is not as a run wrote it.

    Raises:
        DataError: it is no JSON, is not as it was written, or another version wrote it.
    """
    try:
        yield path
    except ClinlmError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{path} must be JSON as this version of clinlm wrote it, and was changed or is damaged; run its command "
            "again"
        ) from error
