"""Several files: each gets a file of answers, written whole or not at all, wherever it is answered."""

import importlib
import os
import shutil
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, TypeVar, final

from clinlm import __version__
from clinlm.config.class_paths import foreign_modules
from clinlm.config.errors import ClinlmError, ConfigError, DataError
from clinlm.config.runtime import Stopwatch
from clinlm.files.shards import shard_root, shards
from clinlm.files.sources import file_identity
from clinlm.predict.durable_file import rename_durably
from clinlm.predict.journal import Journal, Progress
from clinlm.predict.settings import StreamSettings
from clinlm.predict.stream import ProgressBar, check_folders
from clinlm.store.locks import only_process

S = TypeVar("S", bound=StreamSettings)
Outcome = Progress | ClinlmError | OSError
"""Of a file: what was answered, or why it was not."""

PROGRESS: Final = "_progress"
"""In the folder of answers, a folder with the progress of every finished file. Names that begin with _ or . are no data
to Spark, nor to us."""
_ATTEMPTS: Final = "_attempts"


@final
@dataclass(frozen=True)
class ShardJob(Generic[S]):
    """One file to answer: plain data that may be sent to another process, or another machine that sees the same files.

    Two attempts at once, such as one of a machine that was thought lost, write the same bytes, each in a folder of its
    own; the last one to rename stays. So no lock is needed, which not every file system has.

    Attributes:
        settings: of the whole run.
        shard: the file.
        name: of its answers, relative to the folder of answers.
        promises: what decides the answers besides the file; see `stream`.
        answer: answers one file.
        version: of clinlm, which a worker must have too.
        modules: of other packages that the model needs.
    """

    settings: S
    shard: Path
    name: str
    promises: Mapping[str, Any]
    answer: Callable[[S], Progress]
    version: str = __version__
    modules: tuple[str, ...] = ()

    @property
    def output(self) -> Path:
        """Return the file of answers."""
        return self.settings.output / self.name

    @property
    def rejects(self) -> Path:
        """Return the file of rejects, which exists where there are any."""
        return self.settings.rejects / f"{self.name}.jsonl"

    @property
    def journal(self) -> Path:
        """Return the file that says that the answers are complete; it is written last."""
        return self.settings.output / PROGRESS / f"{self.name}.json"

    def finished(self) -> Progress | None:
        """Return what was answered if the file is finished; None if it is not.

        Raises:
            ConfigError, DataError: it was answered with other settings, the file changed since, or the journal is
                damaged.
        """
        if not (self.journal.is_file() and self.output.is_file()):
            return None
        done = Journal.opened(self.journal, self._promises(), []).progress
        return done if done.complete else None

    def run(self, threads: int) -> Progress:
        """Answer the file, in some processes; its answers are there when this returns, and none of them before.

        Raises:
            ClinlmError: as of `answer`; or another version of clinlm, or another model, is here.
        """
        if self.version != __version__:
            raise ConfigError(
                f"every worker must have the same version of clinlm, got {__version__} on {socket.gethostname()} and "
                f"{self.version} where the command runs; install the same one"
            )
        for module in self.modules:
            importlib.import_module(module)
        attempt = self.settings.output / _ATTEMPTS / os.urandom(8).hex()
        attempt.mkdir(mode=0o700, parents=True)
        try:
            draft = attempt / self.output.name
            own = self.settings.alone(self.shard, draft, draft.with_name(f"{draft.name}.rejects.jsonl"), threads)
            done = self.answer(own)
            journal = attempt / self.journal.name  # its digest counts its name
            Journal(journal, self._promises(), done).commit(done)
            moved = [(own.rejects, self.rejects), (own.output, self.output), (journal, self.journal)]
            for file, path in moved:
                if file.is_file():
                    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    rename_durably(file, path)
                else:  # no rejects
                    path.unlink(missing_ok=True)
        finally:
            shutil.rmtree(attempt, ignore_errors=True)
        return done

    def _promises(self) -> dict[str, Any]:
        return {**self.promises, "input": file_identity(self.shard)}


Distribute = Callable[[Sequence[ShardJob[S]]], Iterator[tuple[ShardJob[S], Outcome]]]
"""Runs jobs somewhere; yields each with its outcome, in any order."""


def run_job(job: ShardJob[S], threads: int = 1) -> Outcome:
    """Run a job; return what a user can mend, whose message quotes no note, instead of raising it."""
    try:
        return job.run(threads)
    except (ClinlmError, OSError) as error:
        return error


class ShardTotals(NamedTuple):
    """What a run over several files did.

    Attributes:
        done: over all files and attempts.
        files: number of files.
        fresh: number of files that this run answered.
    """

    done: Progress
    files: int
    fresh: int


def run_shards(
    settings: S, promises: Mapping[str, Any], answer: Callable[[S], Progress], distribute: Distribute[S]
) -> ShardTotals:
    """Answer every file of the input that is not answered yet.

    Args:
        promises: settings that must be the same when the run continues, by name. JSON.
        answer: answers one file.

    Raises:
        ConfigError, DataError: another process writes the folder, it holds something else or answers of other
            settings, or a file cannot be answered: the others are, before this is raised.
    """
    check_folders(settings)
    jobs = _jobs(settings, promises, answer)
    settings.output.mkdir(mode=0o700, exist_ok=True)
    with only_process(settings.output):
        visible = any(not entry.name.startswith(".") for entry in settings.output.iterdir())  # a draft is no answer
        written = [settings.output] if visible else []
        journal = Journal.opened(settings.output / f"{PROGRESS}.json", {**promises}, written)
        shutil.rmtree(settings.output / _ATTEMPTS, ignore_errors=True)
        found = [(job, job.finished()) for job in jobs]
        total = _added(done for _, done in found if done is not None)
        left = [job for job, done in found if done is None]
        before_s, watch, failed = journal.progress.seconds, Stopwatch(), dict[str, ClinlmError | OSError]()
        with ProgressBar(len(jobs), total.documents) as bar:
            for number, (job, outcome) in enumerate(distribute(left) if left else (), len(jobs) - len(left) + 1):
                if isinstance(outcome, DataError):
                    failed[str(job.shard)] = outcome
                    continue
                if not isinstance(outcome, Progress):
                    raise outcome
                total = _added([total, outcome])
                journal.commit(replace(total, seconds=before_s + watch.seconds(), complete=False))
                bar.show(replace(total, place=total.place._replace(offset=number)))
        if failed:
            first, error = next(iter(failed.items()))
            raise DataError(
                f"every file must be answered, got {len(failed):,} of {len(jobs):,} without answers; the others have "
                f"them; mend it and run the same command again. Of {first}: {error}"
            )
        journal.commit(replace(total, seconds=before_s + watch.seconds() * bool(left), complete=True))
        shutil.rmtree(settings.output / _ATTEMPTS, ignore_errors=True)
    return ShardTotals(journal.progress, len(jobs), len(left))


def _jobs(settings: S, promises: Mapping[str, Any], answer: Callable[[S], Progress]) -> list[ShardJob[S]]:
    assert settings.input is not None, "it is several files"
    root, found = shard_root(settings.input), shards(settings.input, "input")
    names = [settings.answers_name(shard.relative_to(root)) for shard in found]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"the files of an input must differ in more than their endings, got two for {twice[0]}; rename")
    paths: dict[str, Any] = {
        name: value.absolute() for name, value in vars(settings).items() if isinstance(value, Path)
    }
    absolute = replace(settings, **paths)
    return [
        ShardJob(absolute, shard.absolute(), name, promises, answer, modules=foreign_modules())
        for shard, name in zip(found, names, strict=True)
    ]


def _added(parts: Iterable[Progress]) -> Progress:
    """Return the counts over some files."""
    documents, rejects, predicted, totals = 0, 0, dict[str, int](), dict[str, float]()
    for part in parts:
        documents, rejects = documents + part.documents, rejects + part.rejects
        for name, count in part.predicted.items():
            predicted[name] = predicted.get(name, 0) + count
        for name, value in part.totals.items():
            totals[name] = totals.get(name, 0) + value
    return Progress(documents=documents, rejects=rejects, predicted=predicted, totals=totals)
