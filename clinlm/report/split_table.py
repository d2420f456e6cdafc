"""The files of `resplits=k`: Markdown, CSV and JSON, a line for every model."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from clinlm.pipeline.run_record import run_file
from clinlm.report import cells
from clinlm.report.conclusion import conclude, conclusion_markdown
from clinlm.report.results import ModelResult, results_content
from clinlm.report.tables import HEADER, result_cells, results_frame
from clinlm.store.content import write_files

_NOTE = (
    "Means over splits: {splits}. In brackets 95 % intervals over splits and documents (percentiles of a two-level "
    "bootstrap: groups of documents drawn once for the whole corpus, splits with replacement); of the speed-up the "
    "least and the greatest split. Latency is the median over splits, bytes and parameters are means, factors are "
    "ratios of the numbers shown. Training sets of different splits overlap, so the intervals are about this corpus; "
    "those of the corrected resampled t-test (Nadeau & Bengio 2003) are in the JSON."
)


def write_resplits(
    results: Sequence[ModelResult], folder: Path, name: str, notices: Sequence[str], metric: str, subject: str
) -> list[Path]:
    """Write <name>.md, .csv and .json into `folder`, each replaced atomically, and return their paths.

    Args:
        results: over splits, of `clinlm.report.resplits.SplitTable`.
        metric: monitored, whose range over splits the table shows besides that of micro F1.
        subject: name of the result that the conclusion is about.
    """
    listed = "".join(f"\n- {notice}" for notice in notices) + "\n" * bool(notices)
    said = conclude(results, subject, metric).sentences
    contents = {
        f"{name}.md": f"{conclusion_markdown(said)}{resplits_markdown(results, metric)}{listed}",
        f"{name}.csv": resplits_frame(results).write_csv(),
        f"{name}.json": run_file(f"{name}.json", results_content(results, notices, said, subject)),
    }
    return write_files(folder, contents)


def resplits_markdown(results: Sequence[ModelResult], metric: str) -> str:
    """Return the table: columns as of a run's, after splits, the range of two metrics, and how often it is better."""
    ranged = [*dict.fromkeys(("micro_f1", metric))]
    header = [
        HEADER[0],
        "splits",
        *(f"{cells.spelled(name)} % over splits" for name in ranged),
        "better on",
        *HEADER[1:],
    ]
    rows = [_row(result, ranged) for result in results]
    seeds = next((result.splits.seeds for result in results if result.splits), ())
    which = f"{len(seeds)} (task.seed {listed_seeds(seeds)})"
    better = "'Better on' counts the splits on which micro F1 is above the reference's."
    return f"{cells.grid(header, rows)}\n{_NOTE.format(splits=which)} {better}\n"


def listed_seeds(seeds: Sequence[int]) -> str:
    """Return seeds in few words: 1–5 where none is missing between, else each."""
    first, last = min(seeds, default=0), max(seeds, default=0)
    return f"{first}–{last}" if len(seeds) == last - first + 1 > 1 else ", ".join(map(str, seeds))


def _row(result: ModelResult, ranged: Sequence[str]) -> list[str]:
    name, *others = result_cells(result)
    spread = result.splits
    if spread is None:
        return [name, cells.NONE, *[cells.NONE] * len(ranged), cells.NONE, *others]
    better = str(spread.better["micro_f1"]) if "micro_f1" in spread.better else cells.NONE
    ends = [cells.percent_range(*spread.ends(metric)) for metric in ranged]
    return [name, f"{spread.found} of {len(spread.seeds)}", *ends, better, *others]


def resplits_frame(results: Sequence[ModelResult]) -> pl.DataFrame:
    """Return `results_frame` with `splits` and, for every metric, `_least`, `_greatest` and `_better` over splits."""
    lines = []
    for result in results:
        line: dict[str, float | int | None] = {"splits": result.splits.found if result.splits else None}
        for metric in result.quality if result.splits else ():
            assert result.splits is not None
            low, high = result.splits.ends(metric)
            line |= {f"{metric}_least": low, f"{metric}_greatest": high}
            line |= {f"{metric}_better": result.splits.better.get(metric)}
        lines.append(line)
    return pl.concat([results_frame(results), pl.DataFrame(lines, infer_schema_length=None)], how="horizontal")
