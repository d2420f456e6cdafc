"""Logits of several members, and every ensemble of `conf/`."""

from pathlib import Path
from typing import Any

import numpy as np
from hydra.utils import instantiate
from jaxtyping import Float
from omegaconf import OmegaConf

from clinlm.config.validation import CONF
from clinlm.tasks.inference_config import Kind
from clinlm.training.teachers.ensemble import Ensemble

FILES = sorted(CONF.glob("ensemble/*.yaml"))
KINDS: tuple[Kind, ...] = ("multilabel", "multiclass")
Array = Float[np.ndarray, "..."]


def ensemble(path: Path, **settings: Any) -> Ensemble:
    made: Ensemble = instantiate(OmegaConf.load(path), **settings)
    return made


def members(kind: Kind, seed: int = 0, documents: int = 60) -> tuple[Array, np.ndarray]:
    """Logits of three members, one better than the next, the last knowing nothing, for 5 outputs; and the truth."""
    rng = np.random.default_rng(seed)
    shape = (documents, 5)
    truth = rng.random(shape) < 0.3 if kind == "multilabel" else np.eye(5, dtype=bool)[rng.integers(0, 5, documents)]
    each = [(2 * truth - 1) * signal + rng.normal(size=shape) for signal in (2.0, 0.7, 0.0)]
    return np.stack(each).astype(np.float32), truth


def log_loss(values: Array, truth: np.ndarray) -> float:
    """Slowly: the mean over documents of minus the logarithm of what was said of the truth."""
    if (truth.sum(1) == 1).all():
        return float(-np.log(values[truth]).mean())
    return float(-np.log(np.where(truth, values, 1 - values)).sum(1).mean())
