"""The command line: `clinlm-label labeler=ontology labeler.root=FILE input=FILE output=FILE`."""

from collections import Counter

from rich.console import Console

from clinlm.config import runtime
from clinlm.files.sources import STANDARD
from clinlm.labelers.base import LabelTotals
from clinlm.predict.journal import Progress
from clinlm.predict.label_run import label
from clinlm.predict.label_settings import YAML, Settings

_HELP = """clinlm-label: mark the entities of a file of notes, or of a corpus, with any labeler, a window at a time.

  clinlm-label labeler=ontology input=notes.csv output=labels.jsonl
  clinlm-label labeler=llm input=notes.jsonl.gz output=labels.jsonl
  clinlm-label labeler=majority labeler.use=[ontology,llm] corpus=brat root=FOLDER output=labels.jsonl

One line of JSON a note, in the order of the input: id, line, spans (start, end, label; characters of the text, end
exclusive) and failed, which says why there is no answer and is null where there is one. What cannot be read goes to the
rejects with its line and the reason, and stops nothing. A run that was stopped or killed goes on with the same command,
and no line is lost or written twice; answers are kept in the store by text, and nothing is asked twice.

Settings, KEY=VALUE; labeler=NAME, labeler.* and corpus=NAME, corpus.* as for `clinlm`:
"""


def label_command(arguments: list[str]) -> None:
    """Run `clinlm label`, or print its help."""
    if not arguments or {"-h", "--help"} & set(arguments):
        lines = YAML.read_text(encoding="utf-8").split("\n\n", 1)[1].splitlines()
        print(_HELP + "\n".join(f"  {line}" for line in lines))
        return
    settings = Settings.of(arguments)
    _show(settings, label(settings))


def _show(settings: Settings, done: Progress) -> None:
    console = Console(stderr=True, width=120) if settings.output == STANDARD else runtime.console()
    tally = LabelTotals(done.documents, Counter(done.predicted), **done.totals)  # type: ignore[arg-type]
    lines = {
        "labelled": tally.describe(),
        "took": f"{done.seconds:,.1f} s, {done.documents / max(done.seconds, 1e-9):,.1f} notes a second",
        "cost": f"{tally.describe_cost()} of the labelers, whenever they were asked",
        "rejects": f"{done.rejects:,}{f', see {settings.rejects}' if done.rejects else ''}",
    }
    if settings.output != STANDARD:
        lines["output"] = str(settings.output)
    for name, line in lines.items():
        console.print(f"{name:<10} {line}", soft_wrap=True, markup=False, highlight=False)
