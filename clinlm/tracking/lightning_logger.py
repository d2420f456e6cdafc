"""Any logger of Lightning: MLflow, TensorBoard, Comet, Neptune, one's own."""

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger

from clinlm.config.extras import imported
from clinlm.config.targets import find_target, instantiate
from clinlm.tracking.base import RunLogger, Scalar, TrackedRun
from clinlm.tracking.curves import Curves, attempted, harmless

log = logging.getLogger(__name__)
_MODULES: Mapping[type[Logger], str] = {MLFlowLogger: "mlflow", TensorBoardLogger: "tensorboard"}
"""What a logger imports when it is made, which is a library of an extra of the same name."""
_PARAMETER = 500
"""Characters of a setting that are logged: MLflow takes no more in every version."""


@final
class LightningLogger(RunLogger):
    """Makes a logger for every stage, pipeline and sweep, and gives it curves, settings and the columns of the run.

    `{name}` (`b/teacher`), `{kind}` (stage, pipeline, sweep) and `{key}` in its settings are replaced. MLflow also gets
    tables and pages, as files of the run.

    Args:
        settings: the class of the logger as `_target_`, and its arguments.

    Raises:
        MissingExtraError: what the logger needs is not installed.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        # MLflow tells of every table that it makes.
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        self._settings = settings
        self._open: dict[str, Logger] = {}
        kind = find_target(str(settings["_target_"]))
        for needs, module in _MODULES.items():
            if issubclass(kind, needs):
                imported(module, module)

    def stage(self, name: str, key: str, folder: Path, settings: Mapping[str, Any]) -> Logger | None:
        known = self.announced.get(name)
        made = self._make(known.name if known else name, "stage", key)
        if made is None:
            return None
        self._open[key] = made
        return Curves([made])

    def stage_done(self, report: Mapping[str, Any]) -> None:
        """Take nothing: quality is measured at the end of the pipeline."""

    def publish(self, run: TrackedRun) -> None:
        made = self._open.pop(run.key, None) if run.kind == "stage" else None
        made = made or self._make(run.name, run.kind, run.key)
        if made is not None:
            harmless(type(made).__name__, lambda: _send(made, run))

    def _make(self, name: str, kind: str, key: str) -> Logger | None:
        words = {"{name}": name, "{kind}": kind, "{key}": key}
        label = str(self._settings["_target_"]).rpartition(".")[2]
        made: Logger | None = attempted(label, lambda: instantiate(_replaced(self._settings, words)))
        return made


def _send(logger: Logger, run: TrackedRun) -> None:
    """Give a logger all that is known of a finished run."""
    parameters = {name: str(own)[:_PARAMETER] for name, own in flattened(run.settings).items()}
    parameters |= {"command": run.command[:_PARAMETER], "tags": ", ".join(run.tags), "kind": run.kind}
    numbers = {name: float(own) for name, own in run.summary.items() if isinstance(own, int | float)}
    if isinstance(logger, TensorBoardLogger):
        logger.log_hyperparams(parameters, numbers)
    else:
        logger.log_hyperparams(parameters)
        logger.log_metrics(numbers)
    if isinstance(logger, MLFlowLogger):
        _send_files(logger, run)
    logger.save()
    logger.finalize("success")


def _send_files(logger: MLFlowLogger, run: TrackedRun) -> None:
    """Keep tables, pages and lineage as files of a run of MLflow."""
    for name, table in run.tables.items():
        logger.experiment.log_text(logger.run_id, table.write_csv(), f"tables/{name}.csv")
    for path in run.files.values():
        logger.experiment.log_artifact(logger.run_id, str(path))
    lineage = {"uses": [own.name for own in run.uses], "makes": {own.name: dict(own.digests) for own in run.makes}}
    logger.experiment.log_text(logger.run_id, json.dumps(lineage, indent=1), "lineage.json")


def flattened(settings: Mapping[str, Any], path: str = "") -> dict[str, Scalar]:
    """Return nested settings by their dotted path; lists are joined."""
    found: dict[str, Scalar] = {}
    for name, own in settings.items():
        place = f"{path}.{name}" if path else name
        if isinstance(own, Mapping):
            found |= flattened(own, place)
        else:
            found[place] = ", ".join(map(str, own)) if isinstance(own, list | tuple) else own
    return found


def _replaced(node: Any, words: Mapping[str, str]) -> Any:
    if isinstance(node, Mapping):
        return {name: _replaced(own, words) for name, own in node.items()}
    if isinstance(node, str):
        for word, value in words.items():
            node = node.replace(word, value)
    return node
