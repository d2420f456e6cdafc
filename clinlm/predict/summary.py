"""What a run of `clinlm-predict` says at its end."""

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from clinlm.config import runtime
from clinlm.files.sources import STANDARD
from clinlm.predict.comparison import Comparison
from clinlm.predict.journal import Progress
from clinlm.predict.questions import question
from clinlm.predict.settings import Settings
from clinlm.tasks.inference_config import InferenceConfig

SHOWN = 20
"""Labels in the table of a shadow, those that agree least; the file has them all."""


def show(settings: Settings, done: Progress) -> None:
    """Print it; to standard error where the answers go to standard output."""
    console = Console(stderr=True, width=120) if settings.output == STANDARD else runtime.console()
    rate = done.documents / done.seconds if done.seconds else 0.0
    console.print(
        f"documents  {done.documents:,} in {done.seconds:,.1f} s, {rate:,.1f} a second, {settings.threads} threads"
    )
    where = f", see {settings.rejects}" if done.rejects else ""
    console.print(f"rejects    {done.rejects:,}{where}", soft_wrap=True)
    most = sorted(done.predicted.items(), key=lambda one: -one[1])
    console.print(
        f"predicted  {', '.join(f'{label} {count:,}' for label, count in most)}", soft_wrap=True, markup=False
    )
    asked = question(InferenceConfig.load(settings.artifact))
    for line in asked.told(done.totals):
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    if done.shadow is not None:
        _compared(console, asked.comparison(done.shadow))
        if settings.output != STANDARD:
            console.print(f"shadow     {settings.beside('.shadow.json')}", soft_wrap=True)
    if settings.output != STANDARD:
        console.print(f"output     {settings.output}", soft_wrap=True)


def _compared(console: Console, models: Comparison[Any]) -> None:
    summary = models.summary()
    drift = summary["drift"]
    console.print(f"agreement  {models.headline(summary['agreement'])}", soft_wrap=True)
    table = Table("label", *models.headings, "drift", "of shadow", box=box.SIMPLE)
    for label, at in sorted(summary["labels"].items(), key=lambda one: one[1]["agreement"])[:SHOWN]:
        moved = ["-", "-"] if drift is None else [_moved(drift[model], label) for model in ("artifact", "shadow")]
        table.add_row(label, *models.cells(at), *moved)
    console.print(table)
    if drift is None:
        console.print("drift      not tested: all notes came in one window")
        return
    shifted = sorted({*drift["artifact"]["shifted"], *drift["shadow"]["shifted"]})
    told = f"{', '.join(shifted)} (marked *)" if shifted else "no label"
    console.print(f"drift      since the first window: {told}; {drift['shifted_if']}", soft_wrap=True, markup=False)


def _moved(drift: dict[str, Any], label: str) -> str:
    return f"{drift['labels'][label]['stability']:.3f}{'*' if label in drift['shifted'] else ''}"
