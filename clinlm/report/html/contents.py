"""What stands on the page, collected from what a run or sweep has written."""

from typing import Any

from clinlm.report import cells
from clinlm.report.html.answer import answer
from clinlm.report.html.certainty import certainty_section
from clinlm.report.html.conditions import disagreements_section, gates_section
from clinlm.report.html.labels import labels_section
from clinlm.report.html.lineage import grid_section, layers_section, lineage_section
from clinlm.report.html.models_table import models_table
from clinlm.report.html.plots import pareto_plots, published_of
from clinlm.report.html.provenance import commands_section, data_section, environment_section, published_section
from clinlm.report.html.section import Listing, Section
from clinlm.report.html.sources import Sources
from clinlm.report.html.unfinished import unfinished_jobs
from clinlm.report.html.words import kind_of, known_or, signed, signed_range
from clinlm.report.nested import candidates
from clinlm.report.results import ModelResult
from clinlm.report.written import WrittenReport


def contents(written: WrittenReport) -> dict[str, Any]:
    """Return the values of the template page.html."""
    results, run = written.results, written.runs[0] if written.runs else None
    metric = _metric(written)
    subject = subject_of(written, metric)
    split = run.split if run is not None else "test"
    found = answer(results, subject, metric, split)
    table = models_table(results, metric, found.about)
    published = published_of(run.report.get("published") if run is not None else None)
    by_name = {own.name: own for own in results}
    kind = "sweep" if written.is_sweep else "run"
    return {
        "empty": False,
        "kind": kind,
        "name": written.folder.name,
        "title": f"{found.question} {kind} {written.folder.name}",
        "answer": found,
        "tiles": _tiles(by_name[found.about], metric),
        "table": table,
        "plots": pareto_plots(results, table.metrics, found.about, published, split),
        "metrics": {name: cells.spelled(name) for name in table.metrics},
        "failed": unfinished_jobs(written.folder) if written.is_sweep else [],
        "split": split,
        "sections": _sections(Sources(written, metric, by_name[subject], by_name[found.about], split)),
        "models": [_model(own) for own in results],
    }


def _sections(sources: Sources) -> list[Section]:
    """Return the sections of the page that have something to show, in order."""
    why = (
        Section("why", "Why", "Why", [Listing("", sources.written.conclusion)]) if sources.written.conclusion else None
    )
    found = (
        *(why, grid_section(sources), lineage_section(sources), labels_section(sources), certainty_section(sources)),
        *(layers_section(sources), gates_section(sources), disagreements_section(sources), data_section(sources)),
        *(published_section(sources), environment_section(sources), commands_section(sources)),
    )
    return [section for section in found if section is not None]


def subject_of(written: WrittenReport, metric: str) -> str:
    """Return the name of the result that the comparison is about: see `clinlm.report.report.Report`."""
    if written.subject:
        return written.subject
    if not written.is_sweep or not any(own.kind == "stage" for own in written.results):
        return written.results[-1].name
    models = candidates(written.results)
    return max(models, key=lambda own: known_or(own.validation.get(metric), -1.0)).name


def _metric(written: WrittenReport) -> str:
    """Return the metric that training monitored, or the first that the results have."""
    if written.runs:
        return written.runs[0].monitor.removeprefix("val/")
    return next(
        (name for own in written.results for name in own.quality if name in ("macro_f1", "micro_f1")), "micro_f1"
    )


def _model(own: ModelResult) -> dict[str, str]:
    """Return what the script needs of a model: its name and the command that makes it again."""
    from clinlm.report.pareto import command

    return {"name": own.name, "command": command(own)}


def _tiles(own: ModelResult, metric: str) -> list[dict[str, str]]:
    """Return the figures below the answer: heading, value and what stands below it."""
    judged = own.non_inferiority
    name = judged.metric if judged is not None else metric
    interval, change = own.intervals.get(name), own.differences.get(name)
    spread = f"95 % interval {cells.percent_range(interval.low, interval.high)}" if interval else ""
    found = [{"head": cells.spelled(name), "value": f"{cells.percent(own.quality.get(name))} %", "below": spread}]
    if change is not None:
        found.append(
            {
                "head": "difference",
                "value": signed(change.value),
                "below": f"points, {signed_range(change)}, against {own.reference}",
            }
        )
    if own.bytes:
        smaller = f"{cells.times(own.compression_bytes)} smaller" if kind_of(own) != "original" else "the original"
        found.append({"head": "size", "value": f"{cells.three(own.bytes / 1e6)} MB", "below": smaller})
    if own.latency is not None:
        faster = f"{cells.times(own.latency.speedup)} as fast" if kind_of(own) != "original" else "median a note"
        load = ", measured under load" * own.latency.disturbed
        found.append({"head": "time a note", "value": f"{cells.three(own.p50_ms)} ms", "below": faster + load})
    if own.gates:
        passed = [gate.gate for gate in own.gates if gate.passed]
        found.append(
            {
                "head": "gates",
                "value": f"{len(passed)} of {len(own.gates)}",
                "below": f"passes {', '.join(passed)}" if passed else "passes none",
            }
        )
    return found
