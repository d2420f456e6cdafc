"""Nested selection: a sweep that chooses on validation and leaves test closed, and the choice at its end."""

import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from clinlm.config.splits import has_fixed_split
from clinlm.metrics.evaluation import Evaluation
from clinlm.pipeline.run_record import RunRecord
from clinlm.report import cells
from clinlm.report.results import ModelResult

UNOPENED = " (test was not opened)"
"""Ends the title of a comparison on validation."""
CLOSED = "every number is of the validation documents: test was not opened (nested=true)"


def nested_notices(notices: Sequence[str]) -> list[str]:
    """Return the notices about a task without those about its test documents, and one that says so."""
    return [*(notice for notice in notices if not re.search(r"\btest\b", notice)), CLOSED]


def without_split(overrides: Iterable[str]) -> list[str]:
    """Return the overrides that do not say which splits are seen."""
    return [own for own in overrides if not re.match(r"\+{0,2}(task\.seed|resplits|nested)=", own)]


def candidates(results: Sequence[ModelResult]) -> list[ModelResult]:
    """Return the results to choose from: baselines and teachers aside, where there are others."""
    models = [result for result in results if result.kind == "stage" and result.role == "student"]
    return models or [result for result in results if result.kind == "stage"]


def best_on_validation(results: Sequence[ModelResult], metric: str) -> ModelResult:
    """Return the candidate with the best quality on validation."""
    return max(candidates(results), key=lambda result: _known(result.validation[metric]))


def choose(
    results: Sequence[ModelResult], evaluations: Mapping[str, Evaluation], metric: str, **sampling: Any
) -> ModelResult:
    """Return the smallest of the candidates that are within one standard error of the best on validation.

    The error is that of the paired difference to the best; of equal sizes the faster counts, then the better.
    Source: the one-standard-error rule of Breiman et al. 1984, "Classification and Regression Trees", section 3.4.3.

    Args:
        results: on validation.
        evaluations: of each, by name.
        sampling: of the bootstrap over validation documents.
    """
    best = best_on_validation(results, metric)
    near = [own for own in candidates(results) if _is_near(own, best, evaluations, metric, sampling)]
    return min(near, key=lambda own: (own.bytes, own.p50_ms or math.inf, -_known(own.validation[metric])))


def _is_near(
    own: ModelResult, best: ModelResult, evaluations: Mapping[str, Evaluation], metric: str, sampling: Mapping[str, Any]
) -> bool:
    if own.name == best.name:
        return True
    found = evaluations[own.name].difference(evaluations[best.name], **sampling)[metric]
    return -found.value <= (found.high - found.low) / (2 * _Z)


def choice_lines(
    results: Sequence[ModelResult], chosen: ModelResult, metric: str, run: RunRecord, splits: int = 5
) -> list[str]:
    """Return the choice, its rule, and the command that reports it on splits that had no part in it.

    Args:
        run: of the chosen job; the fresh splits begin after its own.
        splits: how many.
    """
    best = best_on_validation(results, metric)
    name, value = cells.spelled(metric), cells.percent(chosen.validation[metric])
    lines = [f"chosen     {chosen.name}: {name} {value} % on validation, {cells.three(chosen.bytes / 1e6)} MB"]
    if best.name != chosen.name:
        others = f"{best.name} ({cells.percent(best.validation[metric])} %, {cells.three(best.bytes / 1e6)} MB)"
        lines.append(f"           the smallest within a standard error of the best, {others}")
    return [*lines, f"next       {resplits_command(run, splits)}"]


def resplits_command(run: RunRecord, splits: int = 5) -> str:
    """Return the command that reports a pipeline on fresh splits; once on test, where the corpus defines its split."""
    typed = ["clinlm", *without_split(run.overrides)]
    if has_fixed_split(dict(run.task.settings)):
        return shlex.join(typed)
    return shlex.join([*typed, f"task.seed={int(run.task.settings.get('seed', 0)) + 1}", f"resplits={splits}"])


def _known(value: float) -> float:
    return -1.0 if math.isnan(value) else value


_Z = 1.959963984540054
"""The 97.5th percentile of a normal distribution: half a 95 % interval, in standard errors."""
