"""Trackio: curves, columns and tables in a local SQLite file, shown by `trackio show`."""

import atexit
import contextlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from lightning.pytorch.loggers import Logger

from clinlm.config.extras import imported
from clinlm.tracking.base import RunLogger, TrackedRun
from clinlm.tracking.curves import Curves, attempted, harmless
from clinlm.tracking.lightning_logger import flattened
from clinlm.tracking.trackio_curves import TrackioCurves


@final
class Trackio(RunLogger):
    """A run of Trackio for every stage, pipeline and sweep. No account, and nothing leaves the machine.

    Args:
        project: of the dashboard.
        group: name of the sweep.
        folder: where its database is.

    Raises:
        MissingExtraError: trackio is not installed.
    """

    def __init__(self, project: str = "clinlm", group: str | None = None, folder: str = "outputs/trackio") -> None:
        os.environ.setdefault("TRACKIO_DIR", str(Path(folder).absolute()))  # else in the user's home
        self._trackio = imported("trackio", "trackio")
        self.project, self.group = project, group
        self._open: dict[str, Any] = {}
        atexit.register(self._finish)  # of a run that stopped, what waits in memory

    def stage(self, name: str, key: str, folder: Path, settings: Mapping[str, Any]) -> Logger | None:
        known = self.announced.get(name)
        run = self._begin(f"{known.name if known else name}-{key}", known.settings if known else {"stage": name})
        if run is None:
            return None
        self._open[key] = run
        return Curves([TrackioCurves(run)])

    def stage_done(self, report: Mapping[str, Any]) -> None:
        """Take nothing: quality is measured at the end of the pipeline."""

    def publish(self, run: TrackedRun) -> None:
        own = self._open.pop(run.key, None) if run.kind == "stage" else None
        own = own or self._begin(f"{run.name}-{run.key}", run.settings)
        if own is not None:
            harmless("Trackio", lambda: self._send(own, run))

    def _begin(self, name: str, settings: Mapping[str, Any]) -> Any | None:
        def begin() -> Any:
            with contextlib.redirect_stdout(io.StringIO()):  # it greets
                given = {"project": self.project, "name": name, "group": self.group, "config": flattened(settings)}
                run = self._trackio.init(**given, embed=False, auto_log_cpu=False, auto_log_gpu=False)
            # The next one would finish it, and the columns of a stage come after the next stage has begun.
            self._trackio.context_vars.current_run.set(None)
            return run

        return attempted("Trackio", begin)

    def _send(self, own: Any, run: TrackedRun) -> None:
        own.log({name: value for name, value in run.summary.items() if value is not None})
        tables = {f"tables/{name}": table.to_dicts() for name, table in run.tables.items()}
        for name, rows in tables.items():
            columns = list(rows[0])
            data = [[row[column] for column in columns] for row in rows]
            own.log({name: self._trackio.Table(columns=columns, data=data)})
        self._finish(own)

    def _finish(self, *runs: Any) -> None:
        """Write what waits of these runs, or of all that are open; one that fails keeps no other from it.

        Raises:
            Exception: that of the first that failed.
        """
        failed: list[Exception] = []
        with contextlib.redirect_stdout(io.StringIO()):
            for own in runs or [*self._open.values()]:
                try:
                    own.finish()
                except Exception as error:
                    failed.append(error)
        if failed:
            raise failed[0]
