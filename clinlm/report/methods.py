"""What the methods of every stage did: a line each for the terminal, every row for the report."""

from collections.abc import Mapping, Sequence
from typing import Any

from clinlm.report import cells
from clinlm.training.method_report import method_reports
from clinlm.training.promises import BitWidth

Reports = Mapping[str, Mapping[str, Any]]
"""Stage name -> its `report.json`."""


def method_lines(reports: Reports) -> list[str]:
    """Return the summary of every method that has one.

    Where the sensitivity of layers to quantisation was measured, their table follows, line by line.
    """
    found = []
    for stage, report in reports.items():
        for name, method in method_reports(report).items():
            if method.summary:
                found.append(f"{stage}: {name} {method.summary}")
            found += sensitivities(method.of(BitWidth)).splitlines()
    return found


def methods_markdown(reports: Reports) -> str:
    """Return a section for every stage with a table for each of its methods; numbers as they were reported."""
    parts = []
    for stage, report in reports.items():
        for name, method in method_reports(report).items():
            rows = [row.to_json() for row in method.rows]
            if rows:
                columns = dict.fromkeys(column for row in rows for column in row)
                header = sorted(columns, key=lambda column: not isinstance(rows[0].get(column), str))  # names first
                shown = [[_shown(row.get(column)) for column in header] for row in rows]
                parts.append(f"### {stage}: {name}\n\n{cells.grid(header, shown)}")
    return "\n".join(parts)


def sensitivities(rows: Sequence[BitWidth]) -> str:
    """Return a table of the layers by what quantising each alone costs, worst first; "" if none was measured."""
    measured = sorted(
        ((row.sensitivity, row) for row in rows if row.sensitivity is not None), key=lambda pair: -pair[0]
    )
    if not measured:
        return ""
    header = ["layer", "rise of validation loss", "relative error of weight", "kept in float"]
    shown = [
        [
            row.layer,
            f"{rise:+.2e}",
            cells.NONE if row.spared else f"{row.relative_error:.2e}",
            "yes" if row.spared else "no",
        ]
        for rise, row in measured
    ]
    return cells.grid(header, shown)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return cells.NONE
    return f"{value:.4g}" if isinstance(value, float) else str(value)
