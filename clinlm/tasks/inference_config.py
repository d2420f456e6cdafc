"""How a deployed model is applied: labels, thresholds, temperature, and the rows of a note."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self, final

import numpy as np
from jaxtyping import Bool, Float

from clinlm.config.errors import DataError, MissingFileError
from clinlm.metrics.conformal import ConformalThresholds
from clinlm.metrics.decisions import Thresholds, apply_thresholds, sigmoid
from clinlm.store.content import write_json
from clinlm.text.long_notes import LongNotes

Kind = Literal["multilabel", "multiclass", "entities"]
"""Any number of labels a document; exactly one; or exactly one tag a word, from which spans are decoded."""

SERVING = "serving.json"


@final
@dataclass(frozen=True)
class InferenceConfig:
    """Turns logits into decisions. Every artifact and every deployment has one.

    Attributes:
        kind: of the task.
        labels: names of the outputs: labels, or tags.
        thresholds: one a label, fitted on validation; None where the most probable label is predicted.
        max_tokens: longest row, special tokens included.
        long_notes: how notes are read that do not fit into a row.
        temperature: divides logits; positive, and 1 unless fitted on validation.
        alone: whether the model reads one document at a time, never several in a batch; see
            `clinlm.models.layers.base.reads_alone`.
        conformal: thresholds of the sets of possible labels, one entry a coverage; none in folders of older versions.
    """

    kind: Kind
    labels: tuple[str, ...]
    thresholds: Thresholds
    max_tokens: int
    long_notes: LongNotes
    temperature: float = 1.0
    alone: bool = False
    conformal: tuple[ConformalThresholds, ...] = ()

    def probabilities(self, logits: Float[np.ndarray, "units outputs"]) -> Float[np.ndarray, "units outputs"]:
        """Return probabilities from logits."""
        return probabilities_from_logits(logits / self.temperature, self.kind)

    def decide(self, values: Float[np.ndarray, "units outputs"]) -> Bool[np.ndarray, "units outputs"]:
        """Return the predicted labels, from probabilities."""
        return apply_thresholds(values, self.thresholds)

    def save(self, folder: Path) -> None:
        """Write `serving.json` into `folder`."""
        content = {
            "kind": self.kind,
            "labels": list(self.labels),
            "thresholds": None if self.thresholds is None else self.thresholds.tolist(),
            "max_tokens": self.max_tokens,
            "long_notes": {"name": type(self.long_notes).__name__, **_settings(self.long_notes)},
            "temperature": self.temperature,
            "alone": self.alone,
            "conformal": [own.to_json() for own in self.conformal],
        }
        write_json(folder / SERVING, content)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return what `save` wrote.

        Raises:
            MissingFileError: `folder` is no artifact or deployment.
        """
        path = folder / SERVING
        if not path.is_file():
            raise MissingFileError(
                f"an artifact or deployment must have a {SERVING}, {folder} has none; set the path to one that has"
            )
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        thresholds = None if content["thresholds"] is None else np.array(content["thresholds"], dtype=np.float64)
        way = content["long_notes"].pop("name")
        ours = (kind for kind in LongNotes.__subclasses__() if kind.__module__ == LongNotes.__module__)
        known = {kind.__name__: kind for kind in ours}
        if way not in known:
            raise DataError(f"long_notes must be one of {sorted(known)}, got {way!r} in {path}")
        return cls(
            content["kind"],
            tuple(content["labels"]),
            thresholds,
            content["max_tokens"],
            known[way](**content["long_notes"]),
            content["temperature"],
            content.get("alone", False),
            tuple(map(ConformalThresholds.from_json, content.get("conformal", []))),
        )


def label_kind(kind: Kind) -> Literal["multilabel", "multiclass"]:
    """Return `multilabel` for any number of outputs a unit, `multiclass` for exactly one."""
    return "multilabel" if kind == "multilabel" else "multiclass"


def probabilities_from_logits(
    logits: Float[np.ndarray, "units outputs"], kind: Kind
) -> Float[np.ndarray, "units outputs"]:
    """Return the sigmoid of every logit, or the softmax over the labels, in float64."""
    if kind == "multilabel":
        return sigmoid(logits)
    values = np.asarray(logits, dtype=np.float64)
    exponents = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=1, keepdims=True))


def _settings(way: LongNotes) -> dict[str, Any]:
    return asdict(way)  # type: ignore[call-overload,no-any-return]
