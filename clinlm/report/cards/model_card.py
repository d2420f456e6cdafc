"""Model cards: README.md of every artifact and deployment, in the format of the Hugging Face hub.

Format: https://huggingface.co/docs/hub/model-cards (metadata in YAML between lines of ---, then Markdown). The card is
no part of the sealed record of its folder: every report of the model writes it again.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from clinlm import __version__
from clinlm.models.artifact import CARD
from clinlm.pipeline.run_record import RunRecord
from clinlm.report import cells
from clinlm.report.cards.base_models import BaseModel, base_models, licence_identifier
from clinlm.report.cards.facts import ModelFacts, shown_points, shown_share
from clinlm.report.cards.item_answer import HOSPITAL
from clinlm.report.cards.privacy import shown_command, without_paths
from clinlm.report.results import ModelResult
from clinlm.report.written import WrittenReport
from clinlm.store.content import sealed, write_files

log = logging.getLogger(__name__)

METRIC_TYPES: Final = {"f1": "f1", "precision": "precision", "recall": "recall", "auroc": "roc_auc"}
"""Last word of a metric -> its type on the hub; others keep their name."""
_MOST_LABELS: Final = 50
"""Labels of the table by label, and of the data statement; table_per_label.csv has all."""
_PIPELINES: Final = {True: "token-classification", False: "text-classification"}


def write_model_cards(report: WrittenReport) -> list[Path]:
    """Write the card of every model of a report that has a folder, and return their paths.

    A store that cannot be written to gets none; the log says so.
    """
    written = []
    for result in report.results:
        place = card_folder(result, report.runs[0])
        if place is None or not sealed(place):
            continue
        card = model_card(ModelFacts.of(result, report))
        try:
            written += write_files(place, {CARD: card})
        except OSError as error:
            log.info("no model card in %s: %s", place.name, error.strerror)
    return written


def card_folder(result: ModelResult, run: RunRecord) -> Path | None:
    """Return the folder of a model: of its deployment, its artifact or its baseline; None where it has none."""
    if result.deployment:
        return Path(result.deployment["folder"])
    if result.lineage.folder:
        return Path(result.lineage.folder)
    return Path(run.store) / result.key if result.key else None


def model_card(facts: ModelFacts) -> str:
    """Return the card of a model: metadata, then the text."""
    bases = base_models([artifact for _, artifact in facts.stages], facts.own_artifact)
    metadata = yaml.safe_dump(card_metadata(facts, bases), sort_keys=False, allow_unicode=True, width=120)
    sections = [
        ("How it was made", _made(facts, bases)),
        ("Quality", _quality(facts)),
        ("Subgroups", _subgroups(facts)),
        ("Calibration and abstention", _bullets([*facts.calibration_lines(), *facts.uncertainty_lines()])),
        ("Agreement with the original", _agreement(facts)),
        ("Gates", _bullets(facts.gate_lines())),
        ("Size and latency", _bullets(facts.cost_lines())),
        ("Data", _data(facts)),
        ("Intended use and limits", _limits(facts)),
        ("How to use it", _use(facts)),
    ]
    body = [f"# {facts.name}", _summary(facts), *(f"## {title}\n\n{text.rstrip()}" for title, text in sections)]
    return f"---\n{metadata}---\n\n" + "\n\n".join(body) + "\n"


def card_metadata(facts: ModelFacts, bases: Sequence[BaseModel]) -> dict[str, Any]:
    """Return the metadata of a card, as the hub reads them."""
    licence = licence_identifier(bases)
    named = [base.name for base in bases if base.name]
    content: dict[str, Any] = {"library_name": "clinlm", "pipeline_tag": _PIPELINES[facts.by_word]}
    content |= {"license": licence} | ({"license_name": "to-be-stated"} if licence == "other" else {})
    content |= {"base_model": named} if named else {}
    tags = ["clinical", "medical", *(technique.replace(" ", "-") for technique in facts.techniques)]
    content["tags"] = [*tags, *([facts.result.engine] if facts.result.deployment else [])]
    metrics = [_measured(facts, metric) for metric in facts.metrics()]
    results = [
        {
            "task": {"type": _PIPELINES[facts.by_word], "name": facts.kind},
            "dataset": {"type": "private", "name": without_paths(facts.corpus), "split": facts.split},
            "metrics": [metric for metric in metrics if metric],
        }
    ]
    content["model-index"] = [{"name": facts.name, "results": results if results[0]["metrics"] else []}]
    return content if results[0]["metrics"] else {k: v for k, v in content.items() if k != "model-index"}


def _measured(facts: ModelFacts, metric: str) -> dict[str, Any] | None:
    """Return an entry of the model index; None where the metric is undefined."""
    own = facts.estimates()[metric]
    if own.value != own.value:
        return None
    kind = METRIC_TYPES.get(metric.rpartition("_")[2], metric)
    ends = cells.percent_range(own.low, own.high)
    interval = f" (95 % interval {ends} %)" if ends != cells.NONE else ""
    return {"type": kind, "name": f"{cells.spelled(metric)}{interval}", "value": round(own.value, 6)}


def _summary(facts: ModelFacts) -> str:
    own = facts.result
    role = {"teacher": "the original (teacher)", "student": "a compressed model"}.get(own.role, "a baseline of terms")
    how = f", made by {', '.join(facts.techniques)}" if facts.techniques else ""
    said = [f"A model for {facts.kind}: {role}{how}, {own.bytes / 2**20:.1f} MiB, on {facts.corpus}."]
    verdict = facts.verdict()
    said += [f"It is {verdict}."] if verdict else []
    return " ".join([*said, "Every number here was measured on the machine that built it; nothing is from elsewhere."])


def _made(facts: ModelFacts, bases: Sequence[BaseModel]) -> str:
    rows = facts.method_rows()
    if not rows:
        return _bullets([f"clinlm {__version__}", "fitted on the training notes; thresholds on validation"])
    header = ("stage", "role", "methods", "epochs", "parameters", "MiB", "key")
    said = [base.line() for base in bases] or ["every network began with random weights"]
    run = facts.run
    said += [f"training monitored {run.monitor}; seed {run.seed}; clinlm {__version__}"]
    command = f"```sh\n{shown_command(facts.result.lineage.overrides)}\n```\n"
    return f"{cells.grid(header, rows)}\n{_bullets(said)}\n{command}"


def _quality(facts: ModelFacts) -> str:
    own = facts.result
    if not own.quality:
        return "Not measured."
    compared = facts.reference is not None and bool(own.differences)
    header = ["metric", "value", *([f"against {own.reference}"] if compared else [])]
    rows = []
    for metric, value in facts.estimates().items():
        change = own.differences.get(metric)
        rows.append(
            [cells.spelled(metric), shown_share(value), *([shown_points(change) if change else ""] if compared else [])]
        )
    where = f"On {facts.split} ({facts.documents()}); thresholds come from validation; intervals are 95 %, by bootstrap"
    text = f"{where}.\n\n{cells.grid(header, rows)}"
    verdict = facts.verdict()
    text += f"\n{_bullets([f'verdict: {verdict}'])}" if verdict else ""
    label_rows = [
        [str(row["label"]), f"{row.get('support', 0):,}", *(cells.percent(row.get(name)) for name in _scores(own))]
        for row in own.per_label[:_MOST_LABELS]
    ]
    if label_rows:
        text += f"\n{cells.grid(['label', 'notes', *(f'{name} %' for name in _scores(own))], label_rows)}"
    more = len(own.per_label) - _MOST_LABELS
    return text + (f"\nand {more} more labels.\n" if more > 0 else "")


def _scores(own: ModelResult) -> list[str]:
    """Return the columns of the table by label."""
    return [name for name in ("precision", "recall", "f1", "auroc") if own.per_label and name in own.per_label[0]]


def _subgroups(facts: ModelFacts) -> str:
    rows = facts.subgroup_rows()
    if not rows:
        return (
            "Not measured: the corpus has no attribute of patients, or this model is no compressed one that the run "
            "validates. Quality in subgroups is to be measured by the hospital before use."
        )
    header = ("attribute", "subgroup", "documents", "original", "this model")
    return f"{cells.grid(header, rows)}\n{_bullets(facts.gap_lines())}"


def _agreement(facts: ModelFacts) -> str:
    deployed = facts.result.deployment
    lines = facts.agreement_lines()
    if deployed:
        lines += [
            f"engine {deployed['engine']} decides as the artifact in {deployed['agreement']:.2%} of cases; the largest "
            f"difference of a probability is {deployed['largest_difference']:.2g}"
        ]
    return _bullets(lines)


def _data(facts: ModelFacts) -> str:
    names = facts.labels[:_MOST_LABELS]
    lines = [f"corpus: {facts.corpus}", facts.documents()]
    lines += [f"{len(facts.labels)} labels: {'; '.join(names)}"] if names else []
    learnt = facts.vocabulary_lines()
    lines += [*learnt, "the files of this folder hold these terms as text"] if learnt else []
    lines += [f"{HOSPITAL}: source of the notes, their dates, whom they represent, and the permission to use them"]
    return _bullets(lines)


def _limits(facts: ModelFacts) -> str:
    lines = [
        "meant for research, and for hospitals that validate it on notes of their own; it is no medical device, and "
        "nobody has approved it for decisions about patients",
        "a person who can judge the note must see what it decides; other kinds of notes than these are not covered",
        f"{HOSPITAL}: intended users, place in the work of the ward, and what happens when it is wrong",
        *facts.limits(),
    ]
    return _bullets(lines)


def _use(facts: ModelFacts) -> str:
    lines = ["```sh\nclinlm predict artifact=THIS_FOLDER input=notes.csv output=answers.csv\n```\n"]
    if facts.result.deployment:
        lines.append(f"It runs on the engine {facts.result.engine}; docs/cli.md says what else opens these files.")
    elif facts.result.kind == "stage":
        lines.append("`clinlm report hf` writes a folder that transformers opens, where the architecture allows it.")
    return "\n".join(lines)


def _bullets(lines: Sequence[str]) -> str:
    shown = [" ".join(without_paths(line).split()).replace("<", "&lt;") for line in lines]
    return "".join(f"- {line}\n" for line in shown) or "Not measured.\n"
