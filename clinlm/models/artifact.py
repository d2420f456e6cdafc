"""Artifacts: the folder of a finished stage with spec, edits, weights, tokenizer, predictions and report."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int
from safetensors import safe_open
from safetensors.numpy import save_file as save_numpy

from clinlm.config.class_paths import OWN_PACKAGES
from clinlm.config.errors import DataError, MissingFileError, ModelError
from clinlm.store.arrays import load_arrays, save_arrays
from clinlm.store.checkpoint import CHECKPOINT, CHECKPOINT_DIGESTS
from clinlm.store.content import RECORD, read_record, sealed, write_json
from clinlm.text.stored_tokenizer import TOKENIZER
from clinlm.text.tokens import save_tokenizer

if TYPE_CHECKING:  # reading what a stage wrote must not import torch and transformers: opening its network does
    from clinlm.models.model import Edit, Model, ModelSpec, Network

WEIGHTS = "model.safetensors"
CARD = "README.md"
"""The model card, which reports write into a sealed folder and its record does not name."""
EPOCHS = "epochs.safetensors"
"""Predictions for validation and test after every epoch, of a stage that trained."""

COMPLETE = ("spec.json", "edits.json", WEIGHTS, "predictions.safetensors", "report.json")
"""What every finished stage has, besides its record and the files of its tokenizer."""

NOT_DEPLOYED = (
    "predictions.safetensors",
    EPOCHS,
    "report.json",
    RECORD,
    CHECKPOINT,
    CHECKPOINT_DIGESTS,
    "logits",
    "logs",
)
"""Files that running the model does not need, and that do not count as its size."""


@dataclass(frozen=True)
class Artifact:
    """A finished stage on disk.

    Attributes:
        folder: holds `spec.json`, `edits.json`, `model.safetensors`, `tokenizer/`, `predictions.safetensors`,
            `report.json`, and `record.json`, which is written last.

    Raises:
        MissingFileError: the folder has no record.
    """

    folder: Path

    def __post_init__(self) -> None:
        if not sealed(self.folder):
            raise MissingFileError(
                f"an artifact must have a {RECORD}, {self.folder} has none: it is unfinished or not an artifact; "
                "run its pipeline again"
            )

    @property
    def key(self) -> str:
        """Hash of everything that the artifact depends on."""
        return str(self.record["key"])

    @property
    def stage(self) -> str:
        """Name of its stage."""
        return str(self.record["stage"])

    @cached_property
    def record(self) -> dict[str, Any]:
        """`record.json`: key, stage, parents, settings and the sha256 of every file."""
        return read_record(self.folder)

    @cached_property
    def report(self) -> dict[str, Any]:
        """`report.json`: cost of the stage and reports of its methods."""
        return _read(self.folder / "report.json")

    def load(self) -> "Model":
        """Return the model in evaluation mode."""
        return load(self.folder)

    def predictions(self, split: str) -> Float[np.ndarray, "units outputs"]:
        """Return the logits of `validation` or `test`, in the order of `Examples.units`."""
        with safe_open(self.folder / "predictions.safetensors", "numpy") as file:
            logits: Float[np.ndarray, "units outputs"] = file.get_tensor(split)
        return logits


def save(model: "Model", folder: Path) -> None:
    """Write spec, edits, weights and tokenizer into `folder`, which is not sealed: see `seal`."""
    save_network(model, folder)
    save_tokenizer(model.tokenizer, folder / TOKENIZER)


def save_network(model: "Model", folder: Path) -> None:
    """Write spec, edits and weights into `folder`."""
    from safetensors.torch import save_file

    write_json(folder / "spec.json", model.spec.to_json())
    # On one line: an edit that trims the vocabulary has thousands of numbers.
    edits = [{"function": edit.function, "arguments": dict(edit.arguments)} for edit in model.edits]
    (folder / "edits.json").write_text(json.dumps(edits, separators=(",", ":")) + "\n", encoding="utf-8")
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.network.state_dict().items()}
    save_file(state, folder / WEIGHTS)


def load(folder: Path) -> "Model":
    """Return the model that `save` wrote: skeleton, edits replayed, weights loaded. Nothing is unpickled.

    Raises:
        RuntimeError: the weights do not fit the skeleton.
    """
    from clinlm.models.model import Model

    tokenizer = stored_tokenizer(folder)
    return Model(read_spec(folder), load_network(folder), tokenizer, read_edits(folder))


def stored_tokenizer(folder: Path) -> Any:
    """Return the tokenizer that `save` wrote.

    Raises:
        ModelError: its files name code that it would bring along, or cannot be read.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder / TOKENIZER, trust_remote_code=False)
    except Exception as error:  # of transformers and tokenizers, which have no common kind
        reason = " ".join(str(error).split())
        place = folder / TOKENIZER
        raise ModelError(f"{place} must hold a tokenizer that needs no code of its own; it says: {reason}") from error


def load_network(folder: Path) -> "Network":
    """Return the network that `save_network` wrote, in evaluation mode.

    Raises:
        RuntimeError: the weights do not fit the skeleton.
    """
    from safetensors.torch import load_file

    from clinlm.models.model import rebuild

    network = rebuild(read_spec(folder), read_edits(folder))
    network.load_state_dict(load_file(folder / WEIGHTS), strict=True)
    return network.eval()


def read_edits(folder: Path) -> "list[Edit]":
    """Return the edits of the network."""
    from clinlm.models.model import Edit

    return [Edit(**edit) for edit in json.loads((folder / "edits.json").read_text(encoding="utf-8"))]


def foreign_packages(folder: Path) -> list[str]:
    """Return the imported packages, other than clinlm's own, that a new process must import to load `folder`."""
    edits = read_edits(folder) if (folder / "edits.json").is_file() else []
    layers = {str(edit.arguments.get("layer", "")) for edit in edits}
    packages = {layer.partition(".")[0] for layer in layers if not layer.startswith(OWN_PACKAGES)}
    return sorted(packages & {*sys.modules})


def read_spec(folder: Path) -> "ModelSpec":
    """Return the spec of the network before its edits."""
    from clinlm.models.model import ModelSpec

    return ModelSpec(**_read(folder / "spec.json"))


def save_predictions(folder: Path, logits: Mapping[str, Float[np.ndarray, "units outputs"]]) -> None:
    """Write the logits of several splits."""
    save_numpy(
        {split: np.ascontiguousarray(values) for split, values in logits.items()}, folder / "predictions.safetensors"
    )


def save_logits(path: Path, index: Int[np.ndarray, " units"], logits: Float[np.ndarray, "units outputs"]) -> None:
    """Write teacher logits with their digest, atomically."""
    save_arrays(path, {"index": index, "logits": logits})


def load_logits(path: Path) -> tuple[Int[np.ndarray, " units"], Float[np.ndarray, "units outputs"]]:
    """Return unit numbers and teacher logits.

    Raises:
        DataError: the file is damaged, or another's.
    """
    arrays, _ = load_arrays(path)
    if {*arrays} != {"index", "logits"}:
        raise DataError(f"{path} must hold the logits of units, and does not")
    return arrays["index"], arrays["logits"]


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
