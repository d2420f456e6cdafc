"""How a model is used once it has left: labels, thresholds, temperature, and how notes become rows."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self, final

import numpy as np
import torch
from jaxtyping import Bool, Float

from clinlm.metrics.classification import Thresholds, apply_thresholds
from clinlm.store.content import write_json
from clinlm.text.long_notes import LongNotes

Kind = Literal["multilabel", "multiclass", "entities"]
"""Any number of labels a document, each by itself; exactly one; or exactly one tag a word, of which come spans."""

SERVING = "serving.json"


@final
@dataclass(frozen=True)
class InferenceConfig:
    """What turns logits into decisions. Every artifact and every deployment holds one.

    Attributes:
        kind: of the task.
        labels: names of the outputs: labels, or tags.
        thresholds: one a label, chosen on validation; None where the most probable label is the answer.
        max_tokens: longest row, special tokens included.
        long_notes: what becomes of notes that do not fit into a row.
        temperature: logits are divided by it; positive. Other than 1 only where it was fitted on validation.
    """

    kind: Kind
    labels: tuple[str, ...]
    thresholds: Thresholds
    max_tokens: int
    long_notes: LongNotes
    temperature: float = 1.0

    def probabilities(self, logits: Float[np.ndarray, "units outputs"]) -> Float[np.ndarray, "units outputs"]:
        """Return probabilities from logits."""
        return probabilities_from_logits(logits / self.temperature, self.kind)

    def decide(self, values: Float[np.ndarray, "units outputs"]) -> Bool[np.ndarray, "units outputs"]:
        """Return the labels predicted, from probabilities."""
        return apply_thresholds(values, self.thresholds)

    def save(self, folder: Path) -> None:
        """Write `serving.json` into `folder`."""
        told = {
            "kind": self.kind,
            "labels": list(self.labels),
            "thresholds": None if self.thresholds is None else self.thresholds.tolist(),
            "max_tokens": self.max_tokens,
            "long_notes": {"name": type(self.long_notes).__name__, **_settings(self.long_notes)},
            "temperature": self.temperature,
        }
        write_json(folder / SERVING, told)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return what `save` wrote.

        Raises:
            FileNotFoundError: `folder` holds no model.
        """
        path = folder / SERVING
        if not path.is_file():
            raise FileNotFoundError(
                f"a model in use has a {SERVING}; {folder} has none; name the folder of an artifact or of a deployment"
            )
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        thresholds = None if told["thresholds"] is None else np.array(told["thresholds"], dtype=np.float64)
        way = told["long_notes"].pop("name")
        ours = (one for one in LongNotes.__subclasses__() if one.__module__ == LongNotes.__module__)
        known = {one.__name__: one for one in ours}
        if way not in known:
            raise ValueError(f"long notes are cut by one of {sorted(known)}; {path} says {way!r}")
        return cls(
            told["kind"],
            tuple(told["labels"]),
            thresholds,
            told["max_tokens"],
            known[way](**told["long_notes"]),
            told["temperature"],
        )


def label_kind(kind: Kind) -> Literal["multilabel", "multiclass"]:
    """Return whether exactly one of the outputs of a unit holds, or any number of them."""
    return "multilabel" if kind == "multilabel" else "multiclass"


def probabilities_from_logits(
    logits: Float[np.ndarray, "units outputs"], kind: Kind
) -> Float[np.ndarray, "units outputs"]:
    """Return the sigmoid of every logit, or the softmax over the labels, in float64."""
    values = torch.from_numpy(np.ascontiguousarray(logits)).double()
    answer: Float[np.ndarray, "units outputs"] = (
        values.sigmoid() if kind == "multilabel" else values.softmax(1)
    ).numpy()
    return answer


def _settings(way: LongNotes) -> dict[str, Any]:
    return asdict(way)  # type: ignore[call-overload,no-any-return]
