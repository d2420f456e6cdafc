"""Decision thresholds chosen on validation documents, exactly."""

from typing import Literal

import numpy as np
from jaxtyping import Float

from clinlm.metrics.classification import Probabilities, Targets, check


def fit_thresholds(
    targets: Targets, probabilities: Probabilities, scope: Literal["global", "per_label"]
) -> Float[np.ndarray, " labels"]:
    """The thresholds with the highest F1 of all possible ones. Fit them on validation, never on test.

    Every cut between two neighbouring distinct scores is tried (and the one below the lowest score, taking 0 as its
    neighbour); the threshold is the midpoint of the two. Of cuts with equal F1 the one nearest 0.5 is taken, of two
    equally near the higher.

    Args:
        targets: 0/1 or bool, documents x labels, of the validation split.
        probabilities: in [0, 1], documents x labels.
        scope: `global`: one threshold for all labels, maximising micro F1. `per_label`: each label's own F1; a label
            without positives has no F1 to maximise and gets the global threshold.

    Returns:
        One threshold per label in [0, 1]; a label is predicted where probability >= threshold.

    Raises:
        ValueError: shapes or ranges are wrong, `scope` is unknown, or there is no positive at all.
    """
    check(targets, probabilities)
    truth, scores = np.asarray(targets, dtype=bool), np.asarray(probabilities, dtype=np.float64)
    if not truth.any():
        raise ValueError("thresholds are chosen by F1, which needs a positive label; the validation targets have none")
    everywhere = np.repeat(_best_cuts(truth.reshape(-1, 1), scores.reshape(-1, 1)), truth.shape[1])
    match scope:
        case "global":
            return everywhere
        case "per_label":
            return np.where(truth.any(axis=0), _best_cuts(truth, scores), everywhere)
    raise ValueError(f"scope is 'global' or 'per_label'; {scope!r} came")


def _best_cuts(truth: Targets, scores: Probabilities) -> Float[np.ndarray, " labels"]:
    """Of every column, the midpoint of the cut with the highest F1."""
    order = np.argsort(-scores, axis=0, kind="stable")
    above = np.take_along_axis(scores, order, axis=0)
    below = np.vstack([above[1:], np.zeros(above.shape[1])])
    hits = np.cumsum(np.take_along_axis(truth, order, axis=0), axis=0)
    taken = np.arange(1, len(above) + 1)[:, None]
    f1 = 2 * hits / (taken + hits[-1])
    # Equal scores cannot be cut apart; the last row takes everything and is always a cut.
    f1[:-1][above[:-1] == below[:-1]] = -1.0
    middle = below + (above - below) / 2
    # Between neighbouring floats the midpoint may round down onto the lower score, which would then be taken too.
    middle = np.where(middle > below, middle, above)
    distance = np.where(f1 == f1.max(axis=0), np.abs(middle - 0.5), np.inf)
    return np.asarray(middle[distance.argmin(axis=0), np.arange(middle.shape[1])])
