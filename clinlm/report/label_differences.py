"""By label: how much F1 changed against the original, paired, with intervals."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from clinlm.metrics.bootstrap import Groups, Interval, Weights, resample
from clinlm.metrics.evaluation import Evaluation, LabelEvaluation
from clinlm.report.results import ModelResult, json_value
from clinlm.store.content import write_json

NAME = "labels.json"


def label_differences(
    first: LabelEvaluation, second: LabelEvaluation, resamples: int, seed: int = 0, groups: Groups | None = None
) -> dict[str, Interval]:
    """Return label -> F1 of `second` minus that of `first`, both on the same documents and the same resamples.

    NaN where a label has neither a document nor a decision.

    Args:
        resamples, seed, groups: see `clinlm.metrics.bootstrap.draw`.
    """
    weights = resample(first.documents, resamples, seed, groups)
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
    """Write labels.json into `folder`: name -> label -> interval, of results that have an original."""
    found: dict[str, dict[str, Interval]] = {}
    for own in results:
        second, first = evaluations.get(own.name), evaluations.get(own.reference)
        if own.name != own.reference and isinstance(first, LabelEvaluation) and isinstance(second, LabelEvaluation):
            found[own.name] = label_differences(first, second, **sampling)
    write_json(folder / NAME, {"metric": "f1", "models": json_value(found)})
