"""External validation: every model of a comparison once more, on a corpus that none of them was trained on."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import polars as pl
from jaxtyping import Float

from clinlm.engines.export import Deployment, open_model, unit_answers
from clinlm.metrics.bootstrap import Groups, differences, intervals, unpaired_differences
from clinlm.metrics.entity_evaluation import EntityEvaluation
from clinlm.models import artifact as artifacts
from clinlm.models.artifact import Artifact
from clinlm.report import entities, entity_plot, entity_scores
from clinlm.report.baselines import BASELINE, LABELER
from clinlm.report.comparison import Candidate, Settings, resampling
from clinlm.report.entity_scores import EntityScores
from clinlm.report.external import External, Probabilities
from clinlm.report.row import Row
from clinlm.store.content import locked
from clinlm.tasks.base import Task
from clinlm.tasks.entities import Entities
from clinlm.tasks.examples import EVERY
from clinlm.training.teachers.tfidf import Tfidf
from clinlm.training.teachers.trained import Trained

log = logging.getLogger(__name__)
NAME = "external"
"""Of the files, without ending."""


@final
@dataclass(frozen=True)
class _Answers:
    """What a row says of the test documents of the task, and of all documents of the other corpus."""

    own: EntityEvaluation
    there: EntityEvaluation


def told(
    task: Task,
    external: External | None,
    rows: Sequence[Row],
    per_label: Mapping[str, pl.DataFrame],
    notices: Sequence[str],
    models: Sequence[Candidate],
    settings: Settings,
    places: tuple[Path, Path],
) -> list[str]:
    """Write what there is to tell of entities, here and on the other corpus if there is one; lines for the terminal.

    Args:
        task: of entities.
        external: the other corpus.
        rows, per_label, notices: of the comparison of `models`.
        models: that were compared.
        settings: of the comparison.
        places: the store, and the folder of the run or sweep.
    """
    lines = entities.report(rows, per_label, [*task.examples.notices, *notices], places[1])
    return lines + ([] if external is None else report(external, rows, models, settings, *places))


def report(
    external: External, rows: Sequence[Row], models: Sequence[Candidate], settings: Settings, root: Path, folder: Path
) -> list[str]:
    """Let every model answer, write external.md, .json, .svg and .png, and return lines for the terminal.

    Args:
        external: see `clinlm.report.external.opened_external`.
        rows: of the comparison on the task's own test documents.
        models: that were compared.
        settings: of the comparison.
        root: the store.
        folder: of the run or sweep.
    """
    shown = [row for row in rows if row.kind != "ensemble"]
    artifacts_by_name = {one.name: one.artifact for one in models}
    answers = {row.name: _answers(external, row, artifacts_by_name, root) for row in shown}
    first = next(one.name for one in models if one.role == "teacher")
    references = {one.name: one.reference or first for one in models}
    found = []
    for row in shown:
        reference = references.get(row.deployment.get("of", row.name), first)
        before = None if reference == row.name else answers[reference].there
        found.append(_scored(external, row, answers[row.name], before, settings))
    left = [f"{row.name} is left out: its members stand for themselves" for row in rows if row.kind == "ensemble"]
    notices = [f"{len(external.documents):,} documents of {external.name}", *external.notices, *left]
    entity_scores.write(found, notices, folder / f"{NAME}.json")
    tested = len(external.main.examples.members("test"))
    told = f"Against own test: strict F1 there minus that on the {tested:,} test documents of the task, drawn apart."
    text = f"{entities.grid(found)}\n{entities.RULE} {told}\n\n" + "".join(f"- {one}\n" for one in notices)
    (folder / f"{NAME}.md").write_text(text, encoding="utf-8")
    entity_plot.write(found, f"External corpus {external.name}", folder, NAME)
    last = found[-1]
    lines = [f"external   {external.name}: {entities.line(last)}; against own test {entities.change(last.drop)}"]
    return [*lines, f"external   {folder / NAME}.md, .png"]


def _scored(
    external: External, row: Row, answers: _Answers, reference: EntityEvaluation | None, settings: Settings
) -> EntityScores:
    own, there = answers.own, answers.there
    how = resampling(external.main, settings)
    groups: Groups | None = external.groups if settings.by_group else None
    draws: dict[str, Any] = how | {"groups": groups}
    weigh = there.entity_metrics
    changes = {} if reference is None else differences(reference.entity_metrics, weigh, there.documents, **draws)
    found = replace(
        row,
        quality={name: float(value[0]) for name, value in weigh(np.ones((1, there.documents))).items()},
        intervals=intervals(weigh, there.documents, **draws),
        differences=changes,
    )
    apart = how | {"groups": (how["groups"], groups)}
    drop = unpaired_differences(own.entity_metrics, weigh, (own.documents, there.documents), **apart)
    return EntityScores.of_row(found, there.label_intervals(**draws), drop["micro_f1"])


def _answers(external: External, row: Row, models: Mapping[str, Artifact], root: Path) -> _Answers:
    main, other = external.main, external.task
    own: Probabilities | None
    there: Probabilities | None
    if row.name == BASELINE:
        baseline, _ = Tfidf(root, external.key).fitted(main)
        own = baseline.probabilities(main.passages(main.examples.members("test")))
        there = baseline.probabilities(other.passages(other.examples.members(EVERY)))
    elif row.name == LABELER:
        own, there = main.labelled_probabilities("test"), other.labelled_probabilities(EVERY)
    elif row.deployment:
        deployment = Deployment(Path(row.deployment["folder"]))
        logits = _deployed(deployment, models[row.deployment["of"]], other)
        own, there = main.probabilities(deployment.predictions("test")), other.probabilities(logits)
    else:
        artifact = models[row.name]
        own = main.probabilities(artifact.predictions("test"))
        there = other.probabilities(Trained(artifact).all_logits(other))
    assert own is not None and there is not None, "a labeler of both tasks, and it is the same"
    return _Answers(main.evaluate("test", own, None), external.judged(there))


def _deployed(deployment: Deployment, artifact: Artifact, task: Entities) -> Float[np.ndarray, "units outputs"]:
    """Return the engine's own logits of all documents, one at a time, as in use; kept beside those of the artifact."""
    assert task.folder is not None
    path = artifact.folder / "logits" / f"{EVERY}-{task.folder.name}-{deployment.folder.name}.safetensors"
    with locked(path):
        if path.exists():
            try:
                return artifacts.load_logits(path)[1]
            except ValueError as damage:
                log.warning("%s: computing them again", damage)
        use = open_model(deployment.folder)
        encoded = task.encode(use.tokenizer, use.serving.max_tokens)
        members = task.examples.members(EVERY).tolist()
        log.info("computing the logits of %s for %d documents, once", deployment.folder.name, len(members))
        each = [unit_answers(use.answer, encoded.collate([one]), task.long_notes) for one in members]
        logits = np.concatenate(each)
        artifacts.save_logits(path, task.examples.units(EVERY), logits)
    return logits
