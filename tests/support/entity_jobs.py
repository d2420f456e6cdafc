"""Pipelines of tiny taggers on made-up notes, each learning from one labeler, with another corpus to be tested on."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from clinlm.cli.run import run
from clinlm.tracking.run_progress import RunProgress
from support.pipelines import composed
from support.taggers import NAMES, notes, written

HUMAN: dict[str, Any] = {"_target_": "clinlm.labelers.human.Human"}
MARKER: dict[str, Any] = {"_target_": "support.marking.Marker", "words": ["asthma", "gout"], "label_as": "DISEASE"}
"""Marks two diseases of three, and no medication."""


def other_notes(path: Path) -> Path:
    """Write another corpus: notes that the first has not, and its first notes again."""
    new = [{"id": f"n{number}", "group": f"n{number}"} | _note(number) for number in range(12)]
    return written(path, [*new, *notes()[:6]])


def _note(number: int) -> dict[str, Any]:
    name = list(NAMES)[number % len(NAMES)]
    text = f"note {number} names {name} and then {'gout' if number % 2 else 'aspirin'}."
    second = "gout" if number % 2 else "aspirin"
    starts = ((len(f"note {number} names "), name), (text.rindex(second), second))
    return {"text": text, "spans": [{"start": at, "end": at + len(one), "label": NAMES[one]} for at, one in starts]}


def config(folder: Path, labeler: dict[str, Any] = HUMAN, *overrides: str) -> DictConfig:
    """Return the configuration of a tagger that learns from a labeler; `folder` gets the notes and the store."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "notes.jsonl", folder / "other.jsonl"]
    if not paths[0].exists():
        written(paths[0])
        other_notes(paths[1])
    entities = ("task=entities", "corpus@task.corpus=span_table", "task.labels=null", "pipeline=baseline", "epochs=1")
    made = composed(paths[0], folder / "store", *entities, *overrides)
    OmegaConf.set_struct(made, False)
    made.labeler = labeler
    made.external = OmegaConf.to_container(made.task, resolve=False) | {"root": str(paths[1])}
    return made


def finished_job(made: DictConfig, folder: Path, number: int) -> Path:
    """Run a configuration as job `number` of a sweep, and return its folder."""
    ran = folder / "run"
    (ran / ".hydra").mkdir(parents=True)
    OmegaConf.save(made, ran / ".hydra" / "config.yaml")
    run(made, RunProgress())
    return ran.rename(folder / str(number))
