"""Deployments: what an export left on disk, read without the engine, and without torch."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from jaxtyping import Float
from safetensors import safe_open

from clinlm.engines.open_model import FACTS

PREDICTIONS: Final = "predictions.safetensors"


@final
@dataclass(frozen=True)
class Deployment:
    """A model exported to an engine: the engine's files, `config.json`, tokenizer and `serving.json`.

    Attributes:
        folder: may be copied to any machine with the engine; `clinlm predict` and the engine's own tools read it.
    """

    folder: Path

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Measurements: `engine`, `bytes`, `integer_products`, `peak_mib` (rise), `process_mib` (whole process).

        And the comparison with the artifact's predictions: `largest_difference` and `mean_difference` of probabilities,
        and `agreement`, the share of equal decisions.
        """
        content: dict[str, Any] = json.loads((self.folder / FACTS).read_text(encoding="utf-8"))
        return content

    def predictions(self, split: str) -> Float[np.ndarray, "documents outputs"]:
        """Return the engine's logits for `validation` or `test`, in the order of `Examples.units`."""
        with safe_open(self.folder / PREDICTIONS, "numpy") as file:
            logits: Float[np.ndarray, "documents outputs"] = file.get_tensor(split)
        return logits
