"""What the methods of every stage did: a line each for the terminal, every row for the report."""

from collections.abc import Mapping, Sequence
from typing import Any

from clinlm.report import cells

Reports = Mapping[str, Mapping[str, Any]]
"""Stage name -> its `report.json`."""


def lines(reports: Reports) -> list[str]:
    """Return one line for every method that cut units, heads or layers, or made weights zeros, factors or integers.

    Where it was measured which layers suffer most from being integers, their table follows, line by line.
    """
    found = []
    for stage, report in reports.items():
        for name, rows in report["methods"].items():
            told = [say(rows) for column, say in _SAID.items() if rows and column in rows[0]]
            found += [f"{stage}: {name} {one}" for one in told]
            found += sensitivities(rows).splitlines()
    return found


def markdown(reports: Reports) -> str:
    """Return a section for every stage with a table for each of its methods; numbers as they were reported."""
    parts = []
    for stage, report in reports.items():
        for name, rows in report["methods"].items():
            if rows:
                columns = dict.fromkeys(column for row in rows for column in row)
                header = sorted(columns, key=lambda column: not isinstance(rows[0].get(column), str))  # names first
                shown = [[_shown(row.get(column)) for column in header] for row in rows]
                parts.append(f"### {stage}: {name}\n\n{cells.grid(header, shown)}")
    return "\n".join(parts)


def sensitivities(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a table of the layers by what quantising each alone costs, the worst first; empty if none was measured."""
    measured = [row for row in rows if row.get("sensitivity") is not None]
    if not measured:
        return ""
    measured.sort(key=lambda row: -row["sensitivity"])
    header = ["layer", "rise of validation loss", "relative error of weight", "kept in float"]
    shown = [
        [row["layer"], f"{row['sensitivity']:+.2e}", _error(row), "yes" if row["spared"] else "no"] for row in measured
    ]
    return cells.grid(header, shown)


def _error(row: Mapping[str, Any]) -> str:
    return cells.NONE if row["spared"] else f"{row['relative_error']:.2e}"


def _widths(rows: Sequence[Mapping[str, Any]]) -> str:
    before, after = (sum(row[f"width_{when}"] for row in rows) for when in ("before", "after"))
    skipped = sum(row["skipped"] for row in rows)
    spread = min(row["score_std"] for row in rows)
    return (
        f"cut {before:,} FFN units to {after:,} in {len(rows) - skipped} of {len(rows)} layers, {skipped} skipped "
        f"(smallest standard deviation of a layer's scores: {spread:.3g})"
    )


def _zeros(rows: Sequence[Mapping[str, Any]]) -> str:
    weights, zeros = (sum(row[column] for row in rows) for column in ("weights", "zeros"))
    return f"left {zeros:,} of {weights:,} weights zero ({zeros / weights:.1%}) in {len(rows)} matrices"


def _heads(rows: Sequence[Mapping[str, Any]]) -> str:
    before, after = (sum(row[f"heads_{when}"] for row in rows) for when in ("before", "after"))
    return (
        f"cut {before} attention heads to {after} ({1 - after / before:.0%}) in {len(rows)} layers, which keep one each"
    )


def _layers(rows: Sequence[Mapping[str, Any]]) -> str:
    kept = sum(row["kept"] for row in rows)
    return f"kept {kept} of {len(rows)} layers ({1 - kept / len(rows):.0%} cut)"


def _factors(rows: Sequence[Mapping[str, Any]]) -> str:
    before, after = (sum(row[f"parameters_{when}"] for row in rows) for when in ("before", "after"))
    return f"made {before:,} parameters of {len(rows)} matrices {after:,} by factors"


def _integers(rows: Sequence[Mapping[str, Any]]) -> str:
    made = [row for row in rows if not row["spared"]]
    before, after = (sum(row[f"bytes_{when}"] for row in made) for when in ("before", "after"))
    spared = f"; {len(rows) - len(made)} that suffer most stay in float" if len(made) < len(rows) else ""
    return f"made {before / 1e6:.1f} MB of {len(made)} matrices {after / 1e6:.1f} MB of integers{spared}"


def _aimed(rows: Sequence[Mapping[str, Any]]) -> str:
    whole, layers = rows[0], [row for row in rows[1:] if row["heads_after"]]
    heads = ", ".join(str(row["heads_after"]) for row in layers)
    units = ", ".join(str(row["units_after"]) for row in layers)
    rank = whole["embedding_rank"]
    return (
        f"cut {whole['cost_before']:,.6g} {whole['target']} to {whole['cost_after']:,.6g} "
        f"(asked {whole['cost_goal']:,.6g}, predicted {whole['cost_predicted']:,.6g}): "
        f"{whole['layers_after']} of {whole['layers_before']} layers with {heads} heads "
        f"and {units} FFN units, hidden size {whole['hidden_before']} to {whole['hidden_after']}, "
        f"{'whole embeddings' if rank is None else f'embeddings of rank {rank}'}"
    )


_SAID = {
    "target": _aimed,
    "width_before": _widths,
    "zeros": _zeros,
    "heads_before": _heads,
    "kept": _layers,
    "rank": _factors,
    "bytes_before": _integers,
}
"""A column that tells what kind of rows they are -> the line."""


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return cells.NONE
    return f"{value:.4g}" if isinstance(value, float) else str(value)
