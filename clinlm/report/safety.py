"""Whether a compressed model is still safe to use: gates, devices, and its validation against the original."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from clinlm.models.artifact import Artifact
from clinlm.pipeline.gates import open_gate
from clinlm.report import gates, validation, validation_text
from clinlm.report.comparison import Settings
from clinlm.report.gates import Subject
from clinlm.report.row import Row
from clinlm.report.validated import Answers, ValidationSettings
from clinlm.tasks.base import Task


def verdicts(task: Task, judged: Sequence[Subject], rows: Sequence[Row], config: DictConfig, folder: Path) -> list[str]:
    """Write gates.md, gates_numbers.md and devices.md, and return lines for the terminal.

    Nothing is written where nothing was compressed. Gates tell of every compressed model, devices of the last row: the
    deployment of the last model, if it has one.

    Args:
        task: opened.
        judged: the compressed models.
        rows: of the comparison.
        config: with `gate` and `device`.
        folder: of the run or sweep.
    """
    if not judged:
        return []
    known = gates.every_gate(open_gate(config))
    found = gates.verdicts(task, judged, known)
    (folder / "gates.md").write_text(gates.markdown(found, known), encoding="utf-8")
    (folder / "gates_numbers.md").write_text(gates.numbers(found), encoding="utf-8")
    last, devices = rows[-1], gates.devices(config)
    # A device has to hold the whole process; of artifacts in eager torch only the growth of one was measured.
    mib = last.deployment.get("process_mib")
    told = gates.device_markdown(devices, last.bytes, mib, last.engine)
    (folder / "devices.md").write_text(f"{last.name}\n\n{told}", encoding="utf-8")
    return [*gates.lines(found), *gates.device_lines(devices, last.bytes, mib, last.engine)]


def validated(
    task: Task, original: Artifact, compressed: Artifact, names: tuple[str, str], how: Settings, folder: Path
) -> list[str]:
    """Compare a model with its original document by document, write validation.md and what belongs to it.

    Args:
        task: opened.
        original, compressed: artifacts.
        names: of the two, in this order.
        how: resamples, groups and seed.
        folder: of the run.

    Returns:
        the summary, lines for the terminal.
    """
    a, b = (
        Answers(name, one.predictions("validation"), one.predictions("test"))
        for name, one in zip(names, (original, compressed), strict=True)
    )
    model = compressed.load()
    encoded = task.encode(model.tokenizer, min(model.max_tokens, task.max_tokens))
    lengths = np.asarray(encoded.lengths()[task.examples.members("test")])
    settings = ValidationSettings(resamples=how.resamples, by_group=how.by_group, seed=how.seed)
    made = validation.validate(task, a, b, settings, lengths)
    validation.write(made, folder)
    return [f"validated  {line}" for line in validation_text.summary(made)]
