"""Opens an artifact or a deployment for predictions, without torch unless its engine needs it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import final

from clinlm.config.errors import MissingExtraError, MissingFileError
from clinlm.engines.base import Answer, Engine, stored_engine
from clinlm.store.content import sealed, verify
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.text.stored_tokenizer import TOKENIZER, StoredTokenizer, TextTokenizer

FACTS = "deployment.json"


@final
@dataclass(frozen=True)
class OpenModel:
    """A model ready for predictions."""

    answer: Answer
    tokenizer: TextTokenizer
    inference_config: InferenceConfig
    engine: Engine


def open_model(folder: Path, threads: int | None = None) -> OpenModel:
    """Return the model of an artifact (run by eager torch) or of a deployment (run by its engine).

    Args:
        threads: number of threads; None for the engine's default.

    Raises:
        MissingFileError: `folder` is neither.
        Damaged: a file has changed.
        ModelError: the engine's class cannot be imported, or must not be; see `stored_engine`.
        MissingExtraError: the engine is not installed.
    """
    if sealed(folder):  # a copy may lack the record
        verify(folder)
    config = InferenceConfig.load(folder)
    if not (folder / FACTS).is_file():
        if not (folder / TOKENIZER).is_dir():
            raise MissingFileError(
                f"{folder} must have {TOKENIZER}/ (an artifact) or {FACTS} (a deployment), has neither: its "
                "export was stopped or refused, or it was copied in part; run its pipeline again"
            )
        tokenizer = StoredTokenizer.load(folder / TOKENIZER)
        from clinlm.engines.torch import Torch

        torch_engine = Torch()
        return OpenModel(torch_engine.open(folder, threads), tokenizer, config, torch_engine)
    engine = stored_engine(json.loads((folder / FACTS).read_text(encoding="utf-8")))
    if engine.missing():
        raise MissingExtraError(f"{folder} needs the engine {engine.name}, which needs {engine.missing()}; install it")
    return OpenModel(engine.open(folder, threads), StoredTokenizer.load(folder), config, engine)
