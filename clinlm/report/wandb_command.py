"""The commands `clinlm report wandb`, which builds a dashboard of a sweep, and `clinlm report wandb-sweep`."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from clinlm.config.errors import ConfigError
from clinlm.pipeline.run_record import RunRecord
from clinlm.report.columns import QUALITY
from clinlm.report.command import refuse_others
from clinlm.report.tracked import publish_run, publish_sweep
from clinlm.report.wandb_views import view_report, workspace
from clinlm.report.written import WrittenReport
from clinlm.store.content import write_files
from clinlm.tracking.lightning_logger import flattened
from clinlm.tracking.wandb import Wandb

_WANDB = "clinlm.tracking.wandb.Wandb"
_METHODS = ("grid", "random", "bayes")
_ONLINE = ("logger=wandb", "logger.mode=online")


def wandb_report(folder: Path, settings: dict[str, str]) -> list[str]:
    """W&B: workspace and report of a sweep; entity=TEAM mode=online saves them, runs=send sends its runs first.

    Without `mode=online` nothing is sent: both are written as JSON, as the server takes them, and runs that are sent
    are kept offline.

    Raises:
        ConfigError: unknown settings, or `mode=online` without an entity.
    """
    refuse_others(settings, ("entity", "project", "mode", "runs", "metric"))
    written = WrittenReport.read(folder)
    own = _logger_settings(written.runs[0])
    project, mode = settings.get("project", own.get("project", "clinlm")), settings.get("mode", "offline")
    entity = settings.get("entity", own.get("entity") or "")
    metric = settings.get("metric", "micro_f1")
    if metric not in QUALITY:
        raise ConfigError(f"metric must be one of {', '.join(QUALITY)}, got {metric!r}")
    if mode == "online" and not entity:
        raise ConfigError("mode=online saves views of a team or user, got no entity; set entity=NAME")
    lines: list[str] = []
    if settings.get("runs") == "send":
        lines += _send(written, project, entity or None, mode, str(own.get("folder", "outputs")))
    elif "runs" in settings:
        raise ConfigError(f"runs must be send, got {settings['runs']!r}; leave it out to send none")
    group, varied = folder.resolve().name if written.is_sweep else "", varied_settings(written.runs)
    views = {
        "workspace": workspace(entity or None, project, group, metric, varied),
        "report": view_report(
            entity or None, project, group, metric, varied, written.conclusion, f"clinlm {folder.resolve().name}"
        ),
    }
    contents = {f"wandb_{name}.json": _spec(view) for name, view in views.items()}
    paths = write_files(folder, contents)
    lines += [f"{name:11}{path}" for name, path in zip(views, paths, strict=True)]
    if mode == "online":
        for name, view in views.items():
            view.save()
            lines.append(f"{name:11}{view.url}")
    else:
        lines.append("nothing was sent; entity=NAME mode=online saves both on the server of `wandb login`")
    return lines


def wandb_sweep(folder: Path, settings: dict[str, str]) -> list[str]:
    """W&B: a sweep.yaml for agents that varies what a sweep varied, or KEY=A,B and KEY=interval(LOW,HIGH) given here.

    `method=grid|random|bayes`, `metric=validation/macro_f1` (of validation: test chooses nothing), `goal=maximize`.

    Raises:
        ConfigError: nothing varies, another method, or a metric of test.
    """
    written = WrittenReport.read(folder)
    options = {name: settings.pop(name) for name in ("method", "metric", "goal") if name in settings}
    method, metric = options.get("method", "grid"), options.get("metric", "validation/macro_f1")
    if method not in _METHODS:
        raise ConfigError(f"method must be one of {', '.join(_METHODS)}, got {method!r}")
    if metric.startswith("final/") and not re.match(r"final/(bytes|latency|speedup|compression)", metric):
        raise ConfigError(f"a sweep must not choose by test documents, got metric={metric}; take validation/...")
    parameters = {name: {"values": own} for name, own in _values(written.runs).items()}
    parameters |= {name: _parameter(value) for name, value in settings.items()}
    if not parameters:
        raise ConfigError(f"a sweep must vary a setting, got none in {folder}; add KEY=VALUE,VALUE")
    common = [own for own in written.runs[0].overrides if all(own in run.overrides for run in written.runs)]
    replaced = {name.lstrip("+") for name in (*parameters, "logger", "logger.mode")}
    kept = [own for own in common if own.lstrip("+").partition("=")[0] not in replaced]
    content = {
        "program": "clinlm",
        "method": method,
        "metric": {"name": metric, "goal": options.get("goal", "maximize")},
        "parameters": parameters,
        "command": ["${interpreter}", "-m", "clinlm", *kept, *_ONLINE, "${args_no_hyphens}"],
    }
    (path,) = write_files(folder, {"wandb_sweep.yaml": yaml.safe_dump(content, sort_keys=False, allow_unicode=True)})
    return [f"written    {path}", f"next       wandb sweep {path}; then clinlm agent ENTITY/PROJECT/ID on each machine"]


def varied_settings(runs: Sequence[RunRecord]) -> list[str]:
    """Return the settings, as columns of a dashboard, that differ between runs; the choice of a method first."""
    flat = [flattened(run.settings) for run in runs]
    names = dict.fromkeys(name for own in flat for name in own)
    varied = [name for name in names if len({json.dumps(own.get(name)) for own in flat}) > 1]
    return sorted(varied, key=lambda name: (name != "pipeline", name.startswith("settings."), name))


def _values(runs: Sequence[RunRecord]) -> dict[str, list[Any]]:
    """Return the overrides that differ between runs, as they are typed (`+sweep`), with their values in order."""
    found: dict[str, dict[Any, None]] = {}
    for run in runs:
        for override in run.overrides:
            name, sign, value = override.partition("=")
            if sign and not override.startswith("~"):
                found.setdefault(name, {})[_value(value)] = None
    return {name: [*own] for name, own in found.items() if len(own) > 1}


def _value(text: str) -> float | int | bool | str:
    """Return a number or truth value as such; all else as it is typed, since an agent writes null as None."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:  # Hydra's grammar has more than that of YAML
        return text
    return found if isinstance(found, int | float) else text


def _parameter(text: str) -> dict[str, Any]:
    interval = re.fullmatch(r"(log_)?interval\(([^,]+),([^,]+)\)", text.replace(" ", ""))
    if interval:
        low, high = float(interval[2]), float(interval[3])
        return {"min": low, "max": high} | ({"distribution": "log_uniform_values"} if interval[1] else {})
    return {"values": [_value(value) for value in text.split(",")]}


def _send(written: WrittenReport, project: str, entity: str | None, mode: str, place: str) -> list[str]:
    """Send the runs of a report that were logged elsewhere, or nowhere."""
    group = written.folder.resolve().name if written.is_sweep else None
    logger = Wandb(project, group, place, mode, entity)  # type: ignore[arg-type]  # it checks the mode
    for job in written.places:
        publish_run(WrittenReport.read(job), logger)
    if written.is_sweep:
        publish_sweep(written, logger)
    where = "sent" if logger.mode == "online" else f"kept for `wandb sync {place}/wandb/offline-run-*`"
    return [f"runs       {len(written.places)} pipelines {where}"]


def _logger_settings(run: RunRecord) -> dict[str, Any]:
    """Return the settings of the logger of W&B among those of a run."""
    own = dict(run.logger or {})
    parts = [own, *own.get("loggers", {}).values()]
    return next((dict(part) for part in parts if part.get("_target_") == _WANDB), {})


def _spec(view: Any) -> str:
    """Return what a server would get of a workspace or a report, as JSON."""
    model = view._to_model()  # there is no public way to see a view without a server
    return str(model.model_dump_json(by_alias=True, exclude_none=True, indent=1)) + "\n"
