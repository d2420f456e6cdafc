"""Baselines of every comparison: TF-IDF, whole and in INT8, keywords where labels come from words, and the labeler."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Self, final

import numpy as np
import polars as pl
from jaxtyping import Float

from clinlm.metrics.baseline import keyword_matches
from clinlm.metrics.conformal import ConformalThresholds
from clinlm.metrics.decisions import Thresholds
from clinlm.metrics.fairness import KEYWORDS_ATTRIBUTE
from clinlm.metrics.term_model import linked_logits
from clinlm.predict.note_answer import TermsAnswer
from clinlm.report.results import ModelResult
from clinlm.store.content import read_record
from clinlm.tasks.base import Task
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.training.teachers.base import Measured
from clinlm.training.teachers.tfidf import Tfidf
from clinlm.training.tfidf_int8 import TfidfInt8

log = logging.getLogger(__name__)

BASELINE, INT8_BASELINE = BASELINES = ("TF-IDF", "TF-IDF int8")
KEYWORDS = "keywords"
LABELER = "labeler"


@final
@dataclass(frozen=True)
class ComparedModel:
    """A model with its predictions, from which its result is computed.

    Attributes:
        result: name and costs; quality is filled in later.
        probabilities: of the units of a split, which are read or computed when they are asked for.
        thresholds: those that decide, in use as in the comparison; fitted on validation.
        opens: opens what is timed, from the text of a document to its decisions, which takes the time and memory of
            loading a model; whoever calls it lets it go. None where timing means nothing.
        conformal: thresholds that its sets are made with; none where it has none.
    """

    result: ModelResult
    probabilities: Callable[[Measured], Float[np.ndarray, "units outputs"]]
    thresholds: Thresholds
    opens: Callable[[], Callable[[str], object]] | None
    conformal: tuple[ConformalThresholds, ...] = ()

    @cached_property
    def validation(self) -> Float[np.ndarray, "validation outputs"]:
        """Probabilities of validation."""
        return self.probabilities("validation")

    @cached_property
    def test(self) -> Float[np.ndarray, "test outputs"]:
        """Probabilities of test; a comparison on validation never asks for them."""
        return self.probabilities("test")

    @classmethod
    def of(
        cls,
        result: ModelResult,
        config: InferenceConfig,
        logits: Callable[[Measured], Float[np.ndarray, "units outputs"]],
        opens: Callable[[], Callable[[str], object]],
    ) -> Self:
        """Return a model as it is served.

        Args:
            opens: see `ComparedModel`.
            config: how its logits become decisions; of an artifact or a deployment, its `serving.json`.
            logits: of the units of a split.
        """
        return cls(
            result, lambda split: config.probabilities(logits(split)), config.thresholds, opens, config.conformal
        )


def baselines(task: Task, task_key: str, root: Path, reference: str) -> tuple[list[ComparedModel], list[ModelResult]]:
    """Return the baselines that `task` has, and a result without numbers for one that cannot be fitted.

    If one fails, the models, which were trained for hours, are compared without it.

    Args:
        reference: name of the result that they are compared with.
    """
    found, failed = list[ComparedModel](), list[ModelResult]()
    for name in BASELINES:
        try:
            found.append(tfidf(task, task_key, root, reference, name))
        except Exception as error:
            log.warning("%s cannot be fitted: %s", name, error)
            reason = f"{name} has no numbers: {str(error).partition(';')[0]}"
            empty = ModelResult(name, "baseline", compression_parameters=math.nan, compression_bytes=math.nan)
            failed.append(replace(empty, reference=reference, notices=(reason,)))
    if has_keywords(task):
        found.append(keywords(task, reference))
    own = labeler(task, reference)
    return found if own is None else [*found, own], failed


def stored_baseline(name: str, task_key: str, root: Path) -> Tfidf | TfidfInt8:
    """Return the baseline of `BASELINES` of that name, as it is kept in the store `root`."""
    return Tfidf(root, task_key) if name == BASELINE else TfidfInt8(root, task_key)


def tfidf(task: Task, task_key: str, root: Path, reference: str, name: str = BASELINE) -> ComparedModel:
    """Return TF-IDF with logistic regression, fitted once a task and kept in the store `root`.

    Args:
        name: of `BASELINES`.
    """
    member = stored_baseline(name, task_key, root)
    model, cached = member.fitted(task)
    result = ModelResult(
        name=name,
        kind="baseline",
        key=member.folder.name,
        reference=reference,
        parameters=model.parameters,
        nonzero=model.nonzero,
        bytes=member.bytes,
        seconds=read_record(member.folder)["seconds"],
        cached=cached,
    )
    config = InferenceConfig.load(member.folder)

    def opened() -> TermsAnswer:
        return TermsAnswer(lambda passages: linked_logits(model, passages, config.kind), config)

    return ComparedModel.of(result, config, lambda split: member.split_logits(task, split), opened)


def labeler(task: Task, reference: str) -> ComparedModel | None:
    """Return the labeler that models learned from, evaluated against people on test; None where people labelled.

    On validation it is compared with its own labels.
    """
    validation = task.labelled_probabilities("validation")
    if validation is None:
        return None
    seconds = task.examples.facts["labeler_seconds"]
    result = ModelResult(LABELER, "baseline", reference=reference, seconds=seconds)
    return ComparedModel(result, partial(_labelled, task), task.fit_thresholds(validation), None)


def _labelled(task: Task, split: Measured) -> Float[np.ndarray, "units outputs"]:
    found = task.labelled_probabilities(split)
    assert found is not None, "a labeler labels every split, or none"
    return found


def has_keywords(task: Task) -> bool:
    """Return whether the records of the task say which labels' words occur in them."""
    kind = task.examples.frame.schema["attributes"]
    return isinstance(kind, pl.Struct) and KEYWORDS_ATTRIBUTE in [own.name for own in kind.fields]


def keywords(task: Task, reference: str) -> ComparedModel:
    """Return the keyword matcher. It reads the words themselves, even where models find them masked."""
    column = task.examples.frame["attributes"].struct.field(KEYWORDS_ATTRIBUTE)

    def matches(split: Measured) -> Float[np.ndarray, "units outputs"]:
        return keyword_matches(column.gather(task.examples.members(split)).to_list(), task.examples.labels)

    result = ModelResult(KEYWORDS, "baseline", reference=reference)
    return ComparedModel(result, matches, task.fit_thresholds(matches("validation")), None)


def keyword_notices(results: Sequence[ModelResult]) -> list[str]:
    """Return the notice that names the models whose macro F1 the keyword matcher reaches; none without the matcher."""
    own = next((result for result in results if result.name == KEYWORDS), None)
    if own is None:
        return []
    others = [result for result in results if result is not own and result.quality]
    lower = [result.name for result in others if result.quality["macro_f1"] < own.quality["macro_f1"]]
    equal = [result.name for result in others if result.quality["macro_f1"] == own.quality["macro_f1"]]
    does = f"{KEYWORDS}: predicts the labels whose words occur (for a single label, the most frequent of them)"
    if not lower and not equal:
        return [f"{does}; every other row has a higher macro F1"]
    beats = [f"a higher macro F1 than {', '.join(lower)}"] if lower else []
    beats += [f"the macro F1 of {', '.join(equal)}"] if equal else []
    return [f"{does}, and has {' and '.join(beats)}: the labels come from these words"]
