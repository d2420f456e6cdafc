"""A workspace and a report of W&B that show a sweep: built as plain objects, saved only where that was asked for."""

from collections.abc import Sequence
from typing import Any

from clinlm.config.extras import imported
from clinlm.report.cells import spelled
from clinlm.report.columns import GATES

METHODS = ("pipeline", "teacher", "student", "prune", "quantize", "factorize", "distill", "settings.prune.ratio")
"""Settings by which methods are compared."""
_RESULT = "final/bytes"
_SOMEBODY = "ENTITY"
"""Owner of what is built without a server."""
_CURVES = ("train/loss", "val/loss", "val/macro_f1")


def panel_sections(metric: str, varied: Sequence[str]) -> list[tuple[str, list[Any]]]:
    """Return titles and panels, the most important first: the Pareto fronts, methods, labels, calibration, gates.

    Args:
        metric: of quality, such as micro_f1.
        varied: settings that differ between the jobs of a sweep.
    """
    wr = imported("wandb_workspaces", "wandb") and imported("wandb_workspaces.reports.v2", "wandb")
    quality, words = f"final/{metric}", spelled(metric)
    summary = wr.SummaryMetric
    axes = [f"c::{name}" for name in varied]
    columns = [*axes, _RESULT, "final/latency_p50_ms", "final/compression", "final/delta_micro_f1", quality]
    fronts = [
        _scatter(wr, f"{words} on test against bytes", summary(_RESULT), summary(quality)),
        _scatter(wr, f"{words} on test against latency from text", summary("final/latency_p50_ms"), summary(quality)),
        _scatter(wr, f"{words} on validation against bytes", summary(_RESULT), summary(f"validation/{metric}")),
    ]
    parallel = wr.ParallelCoordinatesPlot(
        title="Settings, costs and quality",
        columns=[wr.ParallelCoordinatesPlotColumn(_axis(wr, name), log=name == _RESULT) for name in columns],
        layout=wr.Layout(w=24, h=10),
    )
    bars = [
        wr.BarPlot(
            title=f"{words} by {name}",
            metrics=[quality],
            groupby=wr.Config(name),
            groupby_aggfunc="mean",
            groupby_rangefunc="minmax",
            layout=wr.Layout(w=12, h=8),
        )
        for name in (varied or ["pipeline"])
    ]
    return [
        ("Which model may replace the original", [*fronts, _table(wr, "results"), _media(wr, "report", "report")]),
        ("Methods", [parallel, *bars, _media(wr, "Plots", "plots/grid", "plots/pareto", "plots/labels")]),
        ("Pipelines × methods", [_table(wr, "grid"), _table(wr, "pareto"), _table(wr, "lineage")]),
        ("Labels and subgroups", [_table(wr, "labels"), _table(wr, "subgroups"), _table(wr, "disagreements")]),
        ("Calibration", [_media(wr, "Plots", "plots/reliability", "plots/uncertainty"), _table(wr, "calibration")]),
        ("Gates and devices", [_gates(wr), _table(wr, "gates"), _table(wr, "devices")]),
        ("Published numbers", [_table(wr, "published")]),
        ("Training", [wr.LinePlot(title=name, y=[name], layout=wr.Layout(w=8, h=6)) for name in _CURVES]),
    ]


def workspace(entity: str | None, project: str, group: str, metric: str, varied: Sequence[str]) -> Any:
    """Return a workspace with the panels of `panel_sections`, of the runs of one group.

    Args:
        entity: who will own it; None builds it without a server, for `ENTITY`.
    """
    ws = imported("wandb_workspaces", "wandb") and imported("wandb_workspaces.workspaces", "wandb")
    sections = [
        ws.Section(name=name, panels=panels, is_open=number < 3)
        for number, (name, panels) in enumerate(panel_sections(metric, varied))
    ]
    return ws.Workspace(
        entity=entity or _SOMEBODY,
        project=project,
        name=f"clinlm {group}",
        sections=sections,
        runset_settings=ws.RunsetSettings(filters=ws.And(ws.Metric("Group") == group) if group else []),
    )


def view_report(
    entity: str | None,
    project: str,
    group: str,
    metric: str,
    varied: Sequence[str],
    conclusion: Sequence[str],
    title: str,
) -> Any:
    """Return a report with the same panels, and what follows from the table in words above them; see `workspace`."""
    wr = imported("wandb_workspaces", "wandb") and imported("wandb_workspaces.reports.v2", "wandb")
    ws = imported("wandb_workspaces.workspaces", "wandb")
    filters = [ws.Metric("Group") == group] if group else []
    # With a project, a run set asks the server for its number; without, it is that of the report.
    place = {"entity": entity, "project": project} if entity else {}
    kinds = {kind: ws.And(*filters, ws.Metric("JobType") == kind) for kind in ("pipeline", "sweep", "stage")}
    blocks: list[Any] = [wr.TableOfContents(), wr.H1("What follows"), wr.UnorderedList(items=[*conclusion])]
    for name, panels in panel_sections(metric, varied):
        kind = {"Training": "stage", "Methods": "pipeline"}.get(name, "sweep")
        runsets = [wr.Runset(name=kind, filters=kinds[kind], **place)]
        if name.startswith("Which") or name == "Methods":
            every = [kinds["pipeline"], kinds["sweep"]]
            runsets = [
                wr.Runset(name=own, filters=chosen, **place)
                for own, chosen in zip(("pipelines", "the sweep"), every, strict=True)
            ]
        blocks += [wr.H2(name), wr.PanelGrid(runsets=runsets, panels=panels)]
    return wr.Report(entity=entity or _SOMEBODY, project=project, title=title, blocks=blocks, width="fluid")


def _axis(wr: Any, name: str) -> Any:
    return wr.Config(name.removeprefix("c::")) if name.startswith("c::") else wr.SummaryMetric(name)


def _scatter(wr: Any, title: str, x: Any, y: Any) -> Any:
    return wr.ScatterPlot(title=title, x=x, y=y, log_x=True, layout=wr.Layout(w=8, h=8))


def _table(wr: Any, name: str) -> Any:
    return wr.WeavePanelSummaryTable(table_name=f"tables/{name}", layout=wr.Layout(w=24, h=10))


def _media(wr: Any, title: str, *keys: str) -> Any:
    return wr.MediaBrowser(title=title, media_keys=[*keys], layout=wr.Layout(w=24, h=14))


def _gates(wr: Any) -> Any:
    columns = [wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric(f"gate/{gate}")) for gate in GATES]
    return wr.ParallelCoordinatesPlot(title="Gates passed", columns=columns, layout=wr.Layout(w=12, h=8))
