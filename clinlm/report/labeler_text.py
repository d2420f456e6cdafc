"""The table of labelers: for the terminal, as Markdown and as JSON."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from clinlm.metrics.bootstrap import Interval
from clinlm.metrics.economics import Economics, times_cheaper, times_faster
from clinlm.report import cells, entities
from clinlm.report.baselines import LABELER
from clinlm.report.entity_scores import SCORES, EntityScores
from clinlm.report.labeler_jobs import Job
from clinlm.report.labeler_lines import Line
from clinlm.store.content import write_json

_TAKES = (
    "Seconds and money of 1,000 notes, one after another. A labeler's are counted from reading the text on, with "
    "reading its vocabularies, as it was labelled (requests to a server side by side share their time); a model's are "
    "the mean of the notes timed in its run, from token ids to logits (TF-IDF: from text). Money is that of tokens and "
    "of the machine's time where they have a price: those of labeler.* and report.machine.*. Faster and cheaper refer "
    "to the labeler learned from."
)
_AGAINST = (
    "Δ people: strict F1 minus that of the same model learned from people (of a labeler: of the teacher). Δ labeler: "
    "minus that of the labeler that it learned from. Both paired, on the same documents."
)


def render(lines: Sequence[Line]) -> Table:
    """The table for a terminal: F1 over its interval; of labels strict, and relaxed below."""
    labels = [*lines[0].own.strict]
    currency = next((one.takes.currency for one in lines if one.takes and one.takes.currency), "")
    headers = ["labeler → model", "strict\nF1 %", "relaxed\nF1 %", *(f"{one.lower()}\nF1 %" for one in labels)]
    headers += ["external\nF1 %", "s per\n1,000", f"{currency or 'money'}\nper 1,000"]
    table = Table(
        title="labelers and what learned from them, against people on the same test documents",
        caption="below F1: 95 % bootstrap interval; below F1 of a label: relaxed",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for place, header in enumerate(headers):
        table.add_column(header, justify="right" if place else "left", overflow="fold")
    for one in lines:
        shown = [_two(one.own.scores["micro_f1"]), _two(one.own.scores["relaxed_micro_f1"])]
        shown += [
            (cells.percent(one.own.strict[label].value), cells.percent(one.own.relaxed[label].value))
            for label in labels
        ]
        shown += [_two(one.outside.scores["micro_f1"]) if one.outside else (cells.NONE, "")]
        shown += [(_seconds(one.takes), ""), (_money(one.takes).partition(" ")[0], "")]
        table.add_row(one.name, *(Text.assemble(first, "\n", (second, "dim")) for first, second in shown))
    return table


def write(jobs: Sequence[Job], lines: Sequence[Line], folder: Path, name: str) -> None:
    """Write <name>.md and <name>.json into `folder`."""
    tested = len(jobs[0].task.examples.members("test"))
    parts = [
        f"Against people, on the {tested:,} test documents of all jobs\n\n{_quality(lines)}\n"
        f"{entities.RULE} {_AGAINST}\n"
    ]
    outside = [named(one, outside=True) for one in lines if one.outside is not None]
    if outside:
        notices = next(job.outside_notices for job in jobs if job.outside)
        told = "".join(f"- {one}\n" for one in notices)
        parts.append(
            "External: on a corpus that nothing was learned from. Δ: against the teacher of the same job; against own "
            f"test: minus the strict F1 above, drawn apart\n\n{entities.grid(outside)}\n{told}"
        )
    parts.append(f"What 1,000 notes take\n\n{_economics(lines)}\n{_TAKES}\n")
    (folder / f"{name}.md").write_text("\n".join(parts), encoding="utf-8")
    plain = json.loads(json.dumps([asdict(one) for one in lines]), parse_constant=lambda _: None)
    write_json(folder / f"{name}.json", {"lines": plain, "test_documents": tested})


def named(line: Line, outside: bool = False) -> EntityScores:
    """Return the scores of a line under the line's name."""
    own = line.outside if outside else line.own
    assert own is not None, "the caller asks only where there is an external corpus"
    return replace(own, name=line.name)


def _quality(lines: Sequence[Line]) -> str:
    labels = [*lines[0].own.strict]
    header = ["labeler → model", "strict P %", "strict R %", "strict F1 %", "macro F1 %", "relaxed F1 %"]
    header += [*(f"{one} F1 %" for one in labels), *(f"{one} relaxed %" for one in labels), "Δ people", "Δ labeler"]
    rows = []
    for one in lines:
        each: list[Interval] = [one.own.scores[name] for name in SCORES]
        each += [score[label] for score in (one.own.strict, one.own.relaxed) for label in labels]
        against = (entities.change(one.against_people), entities.change(one.against_labeler))
        rows.append([one.name, *map(entities.share, each), *against])
    return cells.grid(header, rows)


def _economics(lines: Sequence[Line]) -> str:
    header = ("labeler → model", "seconds", "money", "priced on", "tokens read", "tokens written", "failed", "notes")
    labelers = {one.labeler: one.takes for one in lines if one.model == LABELER}
    rows = []
    for one in lines:
        takes = one.takes
        told = [cells.NONE] * 5
        if takes is not None:
            day = takes.priced_on or cells.NONE
            tokens = [
                f"{number:,.0f}" if number else cells.NONE for number in (takes.prompt_tokens, takes.completion_tokens)
            ]
            told = [day, *tokens, f"{takes.failed:,}", f"{takes.notes:,}"]
        rows.append([one.name, _seconds(takes), _money(takes), *told, *_ratios(one, labelers.get(one.labeler))])
    return cells.grid((*header, "MB", "× faster", "× cheaper"), rows)


def _ratios(one: Line, labeler: Economics | None) -> list[str]:
    size = cells.three(one.own.bytes / 1e6) if one.model != LABELER else cells.NONE
    if one.model == LABELER or one.takes is None or labeler is None:
        return [size, cells.NONE, cells.NONE]
    cheaper = times_cheaper(one.takes, labeler) if one.takes.currency and labeler.currency else math.nan
    return [size, cells.times(times_faster(one.takes, labeler)), cells.times(cheaper)]


def _two(one: Interval) -> tuple[str, str]:
    return cells.percent(one.value), cells.percent_range(one.low, one.high)


def _seconds(takes: Economics | None) -> str:
    return cells.NONE if takes is None else cells.three(takes.seconds)


def _money(takes: Economics | None) -> str:
    """Three digits that count, as a note may cost a millionth."""
    if takes is None or not takes.currency:
        return cells.NONE
    return f"{takes.money:.3g} {takes.currency}"
