"""The jobs of a sweep over labelers, as they left them: each labeler, and what learned from it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from omegaconf import DictConfig, OmegaConf

from clinlm.engines.export import Deployment
from clinlm.labelers.base import Labeler
from clinlm.labelers.human import Human
from clinlm.metrics.entity_evaluation import EntityEvaluation
from clinlm.models.artifact import Artifact
from clinlm.pipeline import execution
from clinlm.report import entities, entity_scores, external_table
from clinlm.report.baselines import BASELINE, LABELER
from clinlm.report.entity_scores import EntityScores
from clinlm.store.key import digest
from clinlm.tasks.entities import PEOPLE, Entities
from clinlm.training.teachers.tfidf import Tfidf

RUN = "run.json"


@final
@dataclass(frozen=True)
class Job:
    """One job.

    Attributes:
        labeler: what the labeler is called.
        run: what the pipeline left: see `clinlm.cli.run`.
        config: of the job.
        task: opened.
        own: rows of the comparison, on the test documents.
        outside: the same rows on the external corpus, by name; empty where there is none.
        outside_notices: what has to be known of the external corpus.
    """

    labeler: str
    run: Mapping[str, Any]
    config: DictConfig
    task: Entities
    own: Sequence[EntityScores]
    outside: Mapping[str, EntityScores]
    outside_notices: tuple[str, ...]

    @property
    def people(self) -> bool:
        """Whether nobody but people labelled."""
        return all(isinstance(one, Human) for one in leaves(self.task.labeler))

    @property
    def root(self) -> Path:
        """The store."""
        return Path(self.config.store)

    def judged(self, one: EntityScores) -> EntityEvaluation:
        """Return the answers of a row for the test documents, beside what people said."""
        task = self.task
        if one.name == LABELER:
            said = task.labelled_probabilities("test")
            assert said is not None, "there is such a row only where a labeler is not people"
        elif one.name == BASELINE:
            said = task.probabilities(Tfidf(self.root, self.run["task"]["key"]).split_logits(task, "test"))
        elif one.of:
            said = task.probabilities(Deployment(Path(one.folder)).predictions("test"))
        else:
            said = task.probabilities(Artifact(Path(self.folder(one.name))).predictions("test"))
        return task.evaluate("test", said, None)

    def folder(self, stage: str) -> str:
        """Return the folder of a stage; "" where there is no such stage."""
        return next((str(one["folder"]) for one in self.run["stages"] if one["name"] == stage), "")


def opened(folders: Sequence[Path]) -> list[Job]:
    """Return the jobs that lie in `folders`, those of people first.

    Raises:
        ValueError: one is of a task that is not of entities, or they do not test the same documents.
    """
    jobs = [_opened(folder) for folder in folders]
    tested = {_tested(job.task): folder.name for job, folder in zip(jobs, folders, strict=True)}
    if len(tested) > 1:
        raise ValueError(
            "labelers are compared on the same test documents, with the same labels and the same spans of people; jobs "
            f"{' and '.join(tested.values())} differ; sweep nothing that changes the corpus or its split"
        )
    return sorted(jobs, key=lambda job: not job.people)


def leaves(labeler: Labeler) -> list[Labeler]:
    """Return the labelers that a labeler is made of; itself where it combines none."""
    parts = [one for part in labeler.parts for one in leaves(part)]
    return parts or [labeler]


def called(settings: Mapping[str, Any]) -> str:
    """Return what the labeler of some settings is called: ontology, or union(ontology+llm)."""
    kind = str(settings["_target_"]).split(".")[-2]
    if "labelers" not in settings:
        return kind
    names = [str(one) for one in settings.get("use") or settings["labelers"]]
    return names[0] if len(names) == 1 else f"{kind}({'+'.join(names)})"


def _opened(folder: Path) -> Job:
    run = json.loads((folder / RUN).read_text(encoding="utf-8"))
    if not (folder / f"{entities.NAME}.json").is_file():
        raise ValueError(
            f"labelers are compared by entities; job {folder.name} is of another kind of task; take task=bc5cdr, "
            "maccrobat or entities"
        )
    config = OmegaConf.load(folder / ".hydra" / "config.yaml")
    assert isinstance(config, DictConfig)
    task, _ = execution.open_task(config)
    assert isinstance(task, Entities)
    settings = OmegaConf.to_container(config.task.labeler, resolve=True)
    assert isinstance(settings, dict)
    elsewhere = folder / f"{external_table.NAME}.json"
    outside, notices = entity_scores.read(elsewhere) if config.get("external") is not None else ([], ())
    own, _ = entity_scores.read(folder / f"{entities.NAME}.json")
    name = called({str(key): value for key, value in settings.items()})
    return Job(name, run, config, task, own, {one.name: one for one in outside}, tuple(notices))


def _tested(task: Entities) -> str:
    documents = task.examples.frame[task.examples.members("test")]
    return digest([task.tags.labels, *(documents[name].to_list() for name in ("id", "text", PEOPLE))])
