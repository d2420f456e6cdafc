"""Opens an artifact or a deployment for predictions, without torch unless its engine needs it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from clinlm.config.errors import MissingExtraError, MissingFileError, ModelError
from clinlm.engines.base import NETWORK_FILES, Answer, Engine, Logits, Rows, stored_engine
from clinlm.engines.served_folder import REMEDY, broken, check_folder, read_facts, read_serving
from clinlm.tasks.inference_config import SERVING, InferenceConfig
from clinlm.text.stored_tokenizer import TOKENIZER, StoredTokenizer, TextTokenizer

FACTS = "deployment.json"
CHECK: Final = "check.safetensors"
"""Of a deployment with `limits` among its facts: rows with the artifact's answers, see `clinlm.engines.selection`."""
TOKENIZER_FILES: Final = ("tokenizer.json", "tokenizer_config.json")


@final
@dataclass(frozen=True)
class OpenModel:
    """A model ready for predictions."""

    answer: Answer
    tokenizer: TextTokenizer
    inference_config: InferenceConfig
    engine: Engine


def open_model(folder: Path, threads: int | None = None, engine: Engine | None = None) -> OpenModel:
    """Return the model of an artifact (run by eager torch) or of a deployment (run by its engine).

    Args:
        threads: number of threads; None for the engine's default.
        engine: of a deployment; None for the one that it was exported to.

    Raises:
        MissingFileError: `folder` is neither, or lacks a file.
        Damaged: a file has changed.
        ModelError: a file cannot be read, or is a link; or the engine's class cannot be imported, or must not be; see
            `stored_engine`.
        MissingExtraError: the engine is not installed.
    """
    deployed = (folder / FACTS).is_file()
    if not deployed and not (folder / TOKENIZER).is_dir() and (folder / SERVING).is_file():
        raise MissingFileError(
            f"{folder} must have {TOKENIZER}/ (an artifact) or {FACTS} (a deployment), has neither: its "
            "export was stopped or refused, or it was copied in part; run its pipeline again"
        )
    facts = read_facts(folder / FACTS) if deployed else {}
    if deployed and engine is None:
        engine = exported_engine(folder, facts)
    place = folder if deployed else folder / TOKENIZER
    of_tokenizer = [str((place / name).relative_to(folder)) for name in TOKENIZER_FILES]
    needs = engine.files if engine is not None else NETWORK_FILES
    of_export = [FACTS, CHECK] if facts.get("limits") else [FACTS] if deployed else []
    check_folder(folder, (SERVING, *needs, *of_tokenizer, *of_export))
    config = read_serving(folder)
    with broken(place, "hold a fast tokenizer"):
        tokenizer = StoredTokenizer.load(place)
    if engine is None:
        from clinlm.engines.torch import Torch

        engine = Torch()
    if engine.missing():
        raise MissingExtraError(f"{folder} needs the engine {engine.name}, which needs {engine.missing()}; install it")
    with broken(folder, f"hold a network that engine={engine.name} opens ({', '.join(needs)})"):
        answer = engine.open(folder, threads)
    return OpenModel(_checked(answer, folder, len(config.labels)), tokenizer, config, engine)


def exported_engine(folder: Path, facts: Mapping[str, Any]) -> Engine:
    """Return the engine of a deployment.

    Raises:
        ModelError: its facts name none that can be imported; see `stored_engine`.
    """
    with broken(folder / FACTS, "name an engine"):
        return stored_engine(facts)


def _checked(answer: Answer, folder: Path, labels: int) -> Answer:
    """Return an engine's answers; whatever it raises on rows names the folder, and other logits are refused."""

    def checked(input_ids: Rows, attention_mask: Rows) -> Logits:
        try:
            logits = answer(input_ids, attention_mask)
        except MemoryError:  # nothing is wrong with the folder
            raise
        except Exception as error:
            tokens = input_ids.shape[1]
            raise ModelError(
                f"the network of {folder} must answer every row of its tokenizer, got {type(error).__name__} for "
                f"{tokens:,} tokens; {REMEDY}"
            ) from error
        if len(logits) != len(input_ids) or logits.shape[-1] != labels:
            raise ModelError(
                f"the network of {folder} must have one output for each of its {labels} labels, got "
                f"{logits.shape[-1]}; {REMEDY}"
            )
        return logits

    return checked
