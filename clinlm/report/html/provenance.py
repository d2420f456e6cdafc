"""Data, published numbers, environment and commands: what the numbers rest on, and how to have them again."""

import shlex
from collections.abc import Mapping
from typing import Any

from clinlm.report import cells
from clinlm.report.html.models_table import Cell
from clinlm.report.html.section import Commands, Grid, Listing, Part, Prose, Section
from clinlm.report.html.sources import Sources
from clinlm.report.pareto import command
from clinlm.report.published import PUBLISHED


def data_section(sources: Sources) -> Section | None:
    """Return what the documents are and what was left out of them; None without a record of a run."""
    run = sources.run
    notices = [*sources.written.notices]
    if run is None:
        return Section("data", "Data", "Data, and what limits the numbers", [Listing("", notices)]) if notices else None
    facts = [(name.replace("_", " "), _fact(value)) for name, value in run.task.facts.items()]
    settings = [(name, value) for name, value in _settings(run.task.settings) if not name.endswith("partial")]
    rows = [[Cell(name), Cell(value)] for name, value in [*facts, *settings]]
    own = [f"{name}: {notice}" for name, notice in _own_notices(sources)]
    parts: list[Part] = [
        Listing("What limits the numbers", notices),
        Grid("Documents and task", ["", ""], rows, folded=True),
    ]
    if own:
        parts.append(Listing("Of single models", own, folded=True))
    return Section("data", "Data", "Data, and what limits the numbers", parts)


def _own_notices(sources: Sources) -> list[tuple[str, str]]:
    return [
        (own.name, notice) for own in sources.results for notice in own.notices if notice not in sources.written.notices
    ]


def _fact(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _settings(content: Mapping[str, Any], above: str = "") -> list[tuple[str, str]]:
    """Return nested settings, one a line; a class by its name."""
    found: list[tuple[str, str]] = []
    for name, value in content.items():
        key = f"{above}.{name}" if above else str(name)
        if isinstance(value, Mapping):
            found += _settings(value, key)
        elif name == "_target_":
            found.append((above or "task", str(value).rpartition(".")[2]))
        else:
            found.append((key, "null" if value is None else str(value)))
    return found


def published_section(sources: Sources) -> Section | None:
    """Return a published table with ours; None where the run names none."""
    content = sources.file(PUBLISHED, sources.written.folder)
    if content is None:
        return None
    rows = [[Cell(cell) for cell in line] for line in content["lines"]]
    header = [name.replace("\n", " ") for name in content["header"]]
    table = Grid(content["title"], header, rows, content["note"], frozenset(range(2, len(header))))
    return Section(
        "published",
        "Published",
        "Published numbers next to ours",
        [table, Listing("How it is read", content["notes"], folded=True)],
    )


def environment_section(sources: Sources) -> Section | None:
    """Return machine, versions and the margin; None where nothing is known."""
    rows: list[tuple[str, str]] = []
    machine = sources.written.machine or {}
    for name, value in machine.items():
        rows.append((name, ", ".join(value) if isinstance(value, list | tuple) else str(value)))
    if sources.run is not None:
        reports = [sources.reports[stage.folder] for stage in sources.run.stages]
        known: dict[str, Any] = next((own for own in reversed(reports) if own.get("versions")), {})
        rows += [(name, str(version)) for name, version in known.get("versions", {}).items()]
        rows += [(f"{name} of training", str(known[name])) for name in ("device", "precision") if name in known]
        rows.append(("seed", str(sources.run.seed)))
        own = sources.run.protocol
        if own is not None:
            rows.append(("margin", f"{100 * own.margin:g} points of {cells.spelled(own.metric)}, fixed {own.fixed}"))
    grid = Grid("", ["", ""], [[Cell(name), Cell(value)] for name, value in rows])
    return Section("environment", "Environment", "Environment", [grid]) if rows else None


def commands_section(sources: Sources) -> Section:
    """Return the command of the whole, that of this page, and that of every model."""
    folder = sources.written.folder
    kind = "sweep" if sources.written.is_sweep else "run"
    own = [("this page, made again", shlex.join(["clinlm", "report", "html", f"{kind}={folder}"]))]
    whole = sources.written.typed
    if whole:
        own = [(f"this {kind}", whole), *own]
    seen: dict[str, list[str]] = {}
    for model in sources.results:
        seen.setdefault(command(model), []).append(model.name)
    each = [(", ".join(names), line) for line, names in seen.items() if line != whole]
    parts: list[Part] = [Prose("Stages that are in the store are reused."), Commands(own)]
    if each:
        parts.append(Commands(each, folded=len(each) > 8, title="Of each model"))
    return Section("commands", "Commands", "Commands", parts)
