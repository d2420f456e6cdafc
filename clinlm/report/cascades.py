"""The cascade of a pipeline: chosen on validation, kept as one folder that can be deployed, and a row of its table."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Bool, Float

from clinlm.config.errors import ConfigError
from clinlm.engines.open_model import FACTS
from clinlm.metrics.bootstrap import Interval
from clinlm.metrics.decisions import apply_thresholds
from clinlm.metrics.deferral import doubt, is_deferred, most_doubt
from clinlm.metrics.latency import Latency
from clinlm.models.artifact import NOT_DEPLOYED
from clinlm.predict.cascade import CASCADE, FIRST, MEMBERS, SECOND, CascadeAnswer
from clinlm.report import cells
from clinlm.report.baselines import INT8_BASELINE, ComparedModel
from clinlm.report.results import Lineage, ModelResult
from clinlm.store.content import claim, seal, write_json
from clinlm.store.key import cache_key
from clinlm.tasks.base import Task
from clinlm.tasks.inference_config import SERVING, InferenceConfig
from clinlm.training.teachers.base import Measured


@final
@dataclass(frozen=True)
class CascadeSettings:
    """Which models answer one after another, and what that may cost.

    Attributes:
        first: name of a row that answers every note: a stage, or `TF-IDF int8`; None for the last stage. With `engine`,
            the fastest deployment of a stage.
        second: name of the row that answers those of which the first is in doubt.
        loss: largest loss against `second` alone, on validation.
        metric: that the loss is in.

    Raises:
        ConfigError: `loss` is not in [0, 1).
    """

    first: str | None = None
    second: str = "teacher"
    loss: float = 0.005
    metric: str = "micro_f1"

    def __post_init__(self) -> None:
        if not 0 <= self.loss < 1:
            raise ConfigError(f"report.cascade.loss must be in [0, 1), 0.005 for half a point, got {self.loss}")


@final
class Cascade:
    """A cascade of two rows of a report.

    Args:
        rows: of the report; a stage that is deployed has one for its artifact and one for its fastest engine.
        last: name of the last stage.
        root: the store.

    Attributes:
        name: of its row.
        folder: holds both models, `cascade.json` and `serving.json`: `clinlm predict artifact=FOLDER` answers with it.
        times: latencies of its row and of its models by name, measured together; empty until they are.

    Raises:
        ConfigError: a row is not there or must not be copied, both are one, the metric is unknown, or the task is on
            words.
    """

    def __init__(
        self, task: Task, settings: CascadeSettings, rows: Sequence[ComparedModel], last: str, root: Path
    ) -> None:
        members = {own.result.deployment.get("of", own.result.name): own for own in rows}
        self._task, self.settings = task, settings
        first = _member(members, settings.first or last, FIRST)
        second = _member(members, settings.second, SECOND)
        if task.by_word or first is second:
            got = "a task on words" if task.by_word else f"{first.result.name} twice"
            raise ConfigError(
                f"report.cascade needs two rows of a task on whole notes, got {got}; set report.cascade=null"
            )
        if settings.metric not in task.metrics:
            raise ConfigError(
                f"report.cascade.metric must be one of {', '.join(task.metrics)}, got {settings.metric!r}"
            )
        self.members = first, second
        self.name = f"cascade ({first.result.name}, {second.result.name})"
        self.times: Mapping[str, Latency] = {}
        self._doubts: dict[Measured, Float[np.ndarray, " documents"]] = {}
        self._most_doubt = most_doubt(self._doubt("validation"), self._score, settings.loss)
        mixed = self._mixed("validation", self.deferred("validation"))
        self._config = InferenceConfig(
            task.kind,
            task.examples.labels,
            task.fit_thresholds(mixed),
            task.max_tokens,
            task.long_notes,
            conformal=task.fit_conformal(mixed),
        )
        self.folder = self._stored(root)

    def deferred(self, split: Measured) -> Bool[np.ndarray, " documents"]:
        """Return which documents of a split the second model answers."""
        return is_deferred(self._doubt(split), self._most_doubt)

    def predictor(self) -> ComparedModel:
        """Return the row of the cascade, compared with its second model."""
        from clinlm.models.size import folder_bytes  # here: it imports torch

        first, second = (member.result for member in self.members)
        result = ModelResult(
            name=self.name,
            kind="cascade",
            key=self.folder.name.rpartition("-")[2],
            group="cascade",
            reference=second.deployment.get("of", second.name),
            parameters=first.parameters + second.parameters,
            nonzero=first.nonzero + second.nonzero,
            bytes=sum(folder_bytes(self.folder / member, (FACTS,)) for member in MEMBERS),
            seconds=first.seconds + second.seconds,
            cached=first.cached and second.cached,
            lineage=Lineage(teachers=(first.name, second.name), overrides=first.lineage.overrides),
        )
        config, limit = self._config, self._most_doubt

        def opened() -> CascadeAnswer:
            opens: list[Any] = [member.opens for member in self.members]
            return CascadeAnswer(opens[0](), opens[1](), config, limit)

        return ComparedModel(
            result,
            lambda split: self._mixed(split, self.deferred(split)),
            config.thresholds,
            opened,
            config.conformal,
        )

    def notice(self, change: Interval, split: Measured, timed: bool) -> str:
        """Return what the cascade saves and costs.

        Args:
            change: of the metric on the split, cascade minus second model.
            timed: whether the report shows latencies; see `report.busy`.
        """
        name, metric = self.members[1].result.name, cells.spelled(self.settings.metric)
        share, chosen = (self.deferred(each).mean() for each in (split, "validation"))
        said = (
            f"{self.name}: {share:.1%} of {split} notes are deferred to {name} ({chosen:.1%} of validation, where the "
            f"doubt was chosen for a loss of at most {100 * self.settings.loss:g} points of {metric}); {metric} "
            f"{cells.points(change.value)} ({cells.points_range(change.low, change.high)}) against {name}"
        )
        if not timed:
            return said
        a, b = (self.times[row].mean_ms for row in (self.name, name))
        return (
            f"{said}; mean latency {cells.three(a)} ms, {a / b:.0%} of the {cells.three(b)} ms of {name} (the p50 of a "
            "cascade is that of notes which are not deferred)"
        )

    def _doubt(self, split: Measured) -> Float[np.ndarray, " documents"]:
        if split not in self._doubts:
            first = self.members[0]
            values = first.probabilities(split)
            self._doubts[split] = doubt(values, apply_thresholds(values, first.thresholds))
        return self._doubts[split]

    def _mixed(
        self, split: Measured, deferred: Bool[np.ndarray, " documents"]
    ) -> Float[np.ndarray, "documents labels"]:
        first, second = (member.validation if split == "validation" else member.test for member in self.members)
        return np.where(deferred[:, None], second, first)

    def _score(self, deferred: Bool[np.ndarray, " documents"]) -> float:
        mixed = self._mixed("validation", deferred)
        found = self._task.evaluate("validation", mixed, self._task.fit_thresholds(mixed)).quality()
        return found[self.settings.metric]

    def _stored(self, root: Path) -> Path:
        """Return the folder of the cascade in the store, built if it is not there."""
        from clinlm.engines.export import NOT_DEPLOYED as NOT_EXPORTED  # here: it imports torch

        left_out = {*NOT_EXPORTED, *NOT_DEPLOYED} - {FACTS}  # how it was exported says which engine runs it
        sources = [_source(member.result, root) for member in self.members]
        facts: dict[str, Any] = {
            "most_doubt": self._most_doubt,
            "loss": self.settings.loss,
            "metric": self.settings.metric,
            "deferred_on_validation": float(self.deferred("validation").mean()),
            "members": {place: source.name for place, source in zip(MEMBERS, sources, strict=True)},
        }
        key = cache_key(facts, code=[f"{__name__}.Cascade", f"{CascadeAnswer.__module__}.{CascadeAnswer.__qualname__}"])
        folder = root / f"cascade-{key}"
        with claim(folder, (CASCADE, SERVING)) as whole:
            if not whole:
                for place, source in zip(MEMBERS, sources, strict=True):
                    shutil.rmtree(folder / place, ignore_errors=True)  # of a run that was stopped
                    shutil.copytree(source, folder / place, ignore=lambda _, names: left_out & {*names})
                self._config.save(folder)
                write_json(folder / CASCADE, facts)
                seal(folder, {"key": key})
        return folder


def _member(members: Mapping[str, ComparedModel], name: str, place: str) -> ComparedModel:
    found = members.get(name)
    # The whole TF-IDF holds terms of single patients: it stays where the notes are, and a cascade is copied.
    able = [own for own, each in members.items() if each.result.kind == "stage" or own == INT8_BASELINE]
    if found is None or name not in able:
        raise ConfigError(f"report.cascade.{place} must name one of the rows {', '.join(able)}, got {name!r}")
    return found


def _source(result: ModelResult, root: Path) -> Path:
    """Return the folder that a row is answered from."""
    if result.deployment:
        return Path(result.deployment["folder"])
    return root / result.key if result.kind == "baseline" else Path(result.lineage.folder)
