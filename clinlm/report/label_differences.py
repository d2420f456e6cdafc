"""By label: how much F1 changed against the original, paired, with intervals."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from clinlm.metrics.bootstrap import Interval, Weights, resample
from clinlm.metrics.evaluation import Evaluation, LabelEvaluation
from clinlm.pipeline.run_record import write_run_file
from clinlm.report.results import ModelResult, json_value

LABEL_DIFFERENCES = "labels.json"
"""Of a folder of a report."""


def label_differences(first: LabelEvaluation, second: LabelEvaluation, weights: Weights) -> dict[str, Interval]:
    """Return label -> F1 of `second` minus that of `first`, both on the same documents and the same resamples.

    NaN where a label has neither a document nor a decision.

    Args:
        weights: see `clinlm.metrics.bootstrap.resample`.
    """
    change = label_f1(second, weights) - label_f1(first, weights)
    return {label: Interval.difference(change[:, place]) for place, label in enumerate(first.labels)}


def label_f1(own: LabelEvaluation, weights: Weights) -> Float[np.ndarray, "resamples labels"]:
    """Return F1 of every label in every resample: 2 TP / (true + decided); NaN without either."""
    true, decided = own.targets.astype(np.float64), own.decisions.astype(np.float64)
    both = weights @ (true + decided)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(both > 0, 2 * (weights @ (true * decided)) / both, np.nan))


def write_label_differences(
    results: Sequence[ModelResult], evaluations: Mapping[str, Evaluation], folder: Path, **sampling: Any
) -> None:
    """Write labels.json into `folder`: name -> label -> interval, of results that have an original.

    Args:
        evaluations: on the same documents.
        sampling: arguments of `clinlm.metrics.bootstrap.resample`.
    """
    found: dict[str, dict[str, Interval]] = {}
    weights: Weights | None = None
    for own in results:
        second, first = evaluations.get(own.name), evaluations.get(own.reference)
        if own.name != own.reference and isinstance(first, LabelEvaluation) and isinstance(second, LabelEvaluation):
            weights = resample(first.documents, **sampling) if weights is None else weights
            found[own.name] = label_differences(first, second, weights)
    write_run_file(folder / LABEL_DIFFERENCES, {"metric": "f1", "models": json_value(found)})
