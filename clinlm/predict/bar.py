"""The line that moves while a run goes on, for somebody who watches."""

from types import TracebackType
from typing import Self, final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from clinlm.config import runtime
from clinlm.predict import journal


@final
class Bar:
    """A progress bar on standard error, on a terminal only.

    Args:
        total: `Position.offset` at the end; None where nobody knows.
        before: documents answered in earlier attempts, which say nothing of how fast this one is.
    """

    def __init__(self, total: int | None, before: int) -> None:
        columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=Console(stderr=True), disable=not runtime.interactive(), transient=True)
        self._task = self._bar.add_task("reading", total=total)
        self._watch, self._before = runtime.Stopwatch(), before

    def show(self, done: journal.Progress) -> None:
        """Show how far the run has come."""
        rate = (done.documents - self._before) / max(self._watch.seconds(), 1e-9)
        text = f"{done.documents:,} documents, {rate:,.1f} a second, {done.rejects:,} rejects"
        self._bar.update(self._task, completed=done.place.offset, description=text)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()
