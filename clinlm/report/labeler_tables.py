"""The table of labelers: for the terminal, as Markdown, JSON and a plot."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.table import Table

from clinlm.metrics.bootstrap import Interval
from clinlm.metrics.economics import Economics, times_cheaper, times_faster
from clinlm.report import cells, entities, timing
from clinlm.report.baselines import BASELINES, LABELER
from clinlm.report.conclusion import conclusion_markdown, differences_sentence
from clinlm.report.labelers import LabelerJob, LabelerResult
from clinlm.report.plots import save_figure
from clinlm.report.results import ModelResult, json_value
from clinlm.report.tables import change
from clinlm.report.terminal import text_table
from clinlm.store.content import write_json

NAME = "labelers"
"""Of the files, without ending."""

_COSTS = (
    "Seconds and money of 1,000 notes, one after another. Those of a labeler include reading its vocabularies, counted "
    "while it labelled (concurrent requests to a server share their time); those of a model are the mean of the notes "
    "timed in its run, from text to decisions. Money is that of tokens and of machine time where "
    "they have a price: labeler.* and report.machine.*. Faster and cheaper refer to the labeler learned from."
)
_AGAINST = (
    "Δ people: strict F1 minus that of the same model learned from people (for a labeler: of the teacher). Δ labeler: "
    "minus that of the labeler that it learned from. Both paired, on the same documents."
)


def terminal_table(results: Sequence[LabelerResult]) -> Table:
    """Return the table for a terminal: F1 over its interval; by label strict, and relaxed below."""
    labels = [row["label"] for row in results[0].own.per_label]
    currency = next((r.own.economics.currency for r in results if r.own.economics and r.own.economics.currency), "")
    header = ["labeler → model", "strict\nF1 %", "relaxed\nF1 %", *(f"{label.lower()}\nF1 %" for label in labels)]
    header += ["external\nF1 %", "s per\n1,000", f"{currency or 'money'}\nper 1,000"]
    lines = []
    for result in results:
        strict, relaxed = (result.own.label_estimates(name) for name in ("f1", "relaxed_f1"))
        shown = [_over(result.own.estimate(name)) for name in ("micro_f1", "relaxed_micro_f1")]
        shown += [f"{cells.percent(strict[name].value)}\n{cells.percent(relaxed[name].value)}" for name in labels]
        shown += [_over(result.outside.estimate("micro_f1")) if result.outside else cells.NONE]
        costs = result.own.economics
        lines.append([result.name, *shown, _seconds(result), _money(costs).partition(" ")[0]])
    title = "Labelers and what learned from them, against people on the same test documents"
    note = "below F1: 95 % bootstrap interval; below F1 of a label: relaxed"
    note += timing.explanation(result.own.latency for result in results).replace(" ?", "; ?")
    return text_table(title, note, header, lines)


def _over(own: Interval) -> str:
    return f"{cells.percent(own.value)}\n{cells.percent_range(own.low, own.high)}"


def write_labelers(jobs: Sequence[LabelerJob], results: Sequence[LabelerResult], folder: Path) -> list[str]:
    """Write labelers.md, .json, .svg and .png into `folder`, and return the names of .md and .png."""
    explained = timing.explanation(result.own.latency for result in results)
    tested = len(jobs[0].task.examples.members("test"))
    parts = [
        f"Against people, on the {tested:,} test documents of all jobs\n\n{_quality(results)}\n"
        f"{entities.RULE} {_AGAINST}\n"
    ]
    outside = [replace(result.outside, name=result.name) for result in results if result.outside is not None]
    if outside:
        notices = "".join(f"- {notice}\n" for notice in next(job.outside_notices for job in jobs if job.outside))
        parts.append(
            "External: on a corpus that nothing was learned from. Δ: against the teacher of the same job; against own "
            f"test: minus the strict F1 above, drawn separately\n\n{entities.entity_grid(outside)}\n{notices}"
        )
    parts.append(f"Cost of 1,000 notes\n\n{_economics(results)}\n{_COSTS}{explained}\n")
    said = labeler_sentences(results)
    (folder / f"{NAME}.md").write_text(conclusion_markdown(said) + "\n".join(parts), encoding="utf-8")
    write_json(
        folder / f"{NAME}.json", {"conclusion": said, "lines": json_value(list(results)), "test_documents": tested}
    )
    drawn: list[ModelResult] = [replace(result.own, name=result.name) for result in results]
    save_figure(entities.plot_entities(drawn, "Labelers and what learned from them, against people"), folder, NAME)
    return [f"{NAME}.md", f"{NAME}.png"]


def labeler_sentences(results: Sequence[LabelerResult]) -> list[str]:
    """Return what follows from the table: what it costs that no person labelled, and which models beat their labeler.

    No margin is fixed here: a difference that is not shown is no proof of equality.
    """
    models = [result for result in results if result.model not in (LABELER, *BASELINES)]
    people = {result.name: result.against_people for result in models}
    labelers = {result.name: result.against_labeler for result in models}
    said = [
        differences_sentence(people, "strict F1", "the same model learned from people"),
        differences_sentence(labelers, "strict F1", "the labeler itself"),
    ]
    return [sentence for sentence in said if sentence]


def _quality(results: Sequence[LabelerResult]) -> str:
    header = ["labeler → model", *entities.HEADER, *entities.label_header(results[0].own), "Δ people", "Δ labeler"]
    rows = [
        [
            result.name,
            *entities.entity_scores(result.own),
            change(result.against_people),
            change(result.against_labeler),
        ]
        for result in results
    ]
    return cells.grid(header, rows)


def _economics(results: Sequence[LabelerResult]) -> str:
    header = ("labeler → model", "seconds", "money", "priced on", "tokens read", "tokens written", "failed", "notes")
    labelers = {result.labeler: result.own.economics for result in results if result.model == LABELER}
    rows = [_cost_row(result, labelers) for result in results]
    return cells.grid((*header, "MB", "× faster", "× cheaper"), rows)


def _cost_row(result: LabelerResult, labelers: Mapping[str, Economics | None]) -> list[str]:
    own, labeler = result.own.economics, labelers.get(result.labeler)
    counts = [cells.NONE] * 5
    if own is not None:
        tokens = [f"{number:,.0f}" if number else cells.NONE for number in (own.prompt_tokens, own.completion_tokens)]
        counts = [own.priced_on or cells.NONE, *tokens, f"{own.failed:,}", f"{own.notes:,}"]
    size, ratios = cells.NONE, [cells.NONE, cells.NONE]
    if result.model != LABELER:
        size = cells.three(result.own.bytes / 1e6)
        if own is not None and labeler is not None:
            cheaper = times_cheaper(own, labeler) if own.currency and labeler.currency else math.nan
            ratios = [timing.marked(cells.times(times_faster(own, labeler)), result.own.latency), cells.times(cheaper)]
    return [result.name, _seconds(result), _money(own), *counts, size, *ratios]


def _seconds(result: LabelerResult) -> str:
    cost = result.own.economics
    return cells.NONE if cost is None else timing.marked(cells.three(cost.seconds), result.own.latency)


def _money(cost: Economics | None) -> str:
    """Return three digits that count, as a note may cost a millionth."""
    return cells.NONE if cost is None or not cost.currency else f"{cost.money:.3g} {cost.currency}"
