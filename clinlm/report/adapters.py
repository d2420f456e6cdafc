"""What training costs: by adapter, the weights that learn, quality, seconds and peak memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from clinlm.report import cells, tables
from clinlm.report.cells import spelled
from clinlm.report.conclusion import conclusion_markdown
from clinlm.report.results import ModelResult
from clinlm.report.terminal import text_table

NAME: Final = "adapters"
"""Of the file, without ending."""
_NOTE = (
    "MiB: peak of training above what was there before, of the process (of torch on a GPU); the first stage of a "
    "process also loads code. Seconds: of the whole stage"
)


def adapter_names(results: Sequence[ModelResult]) -> dict[str, str]:
    """Return result -> adapter, of the stages that trained."""
    named = {result.name: _adapter(result) for result in results if result.is_stage}
    return {name: adapter for name, adapter in named.items() if adapter}


def adapter_rows(results: Sequence[ModelResult], metric: str) -> tuple[list[str], list[list[str]]]:
    """Return header and cells of the table: a line for every stage that trained.

    Args:
        metric: of the quality.
    """
    header = ["stage", "adapter", "trainable", "% of all", f"{spelled(metric)} %", "Δ", "seconds", "MiB"]
    adapters, lines = adapter_names(results), []
    for result in (result for result in results if result.name in adapters):
        report = result.lineage.artifact.report
        lines.append(
            [
                result.name,
                adapters[result.name],
                f"{report['trainable']:,}",
                cells.percent(report["trainable"] / report["parameters"]),
                tables.share(result.quality.get(metric), result.intervals.get(metric)),
                tables.change(result.differences.get(metric)),
                cells.three(result.seconds),
                cells.three(report["training_peak_mib"]),
            ]
        )
    return header, lines


def write_adapters(results: Sequence[ModelResult], metric: str, folder: Path, conclusion: Sequence[str] = ()) -> Any:
    """Write `adapters.md`; return the table for a terminal."""
    header, lines = adapter_rows(results, metric)
    (folder / f"{NAME}.md").write_text(
        f"{conclusion_markdown(conclusion)}{cells.grid(header, lines)}\n{_NOTE}.\n", encoding="utf-8"
    )
    short = [[adapter, *rest] for _, adapter, *rest in lines]
    return text_table("What training costs, by adapter", _NOTE, header[1:], short)


def _adapter(result: ModelResult) -> str:
    """Return the adapter with which a stage was trained, as the yaml is called; "" where nothing was."""
    artifact = result.lineage.artifact
    adapter = artifact.record.get("settings", {}).get("adapter")
    if adapter is None or "trainable" not in artifact.report:
        return ""
    return str(adapter["_target_"]).rpartition(".")[0].rpartition(".")[2]
