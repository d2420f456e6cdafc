"""Opens an artifact or a deployment for predictions, without torch unless its engine needs it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from clinlm.config.errors import MissingExtraError, MissingFileError, ModelError
from clinlm.engines.base import Answer, Engine, Logits, Rows, stored_engine
from clinlm.engines.served_folder import REMEDY, broken, check_folder, read_facts, read_serving
from clinlm.tasks.inference_config import SERVING, InferenceConfig
from clinlm.text.stored_tokenizer import TOKENIZER, StoredTokenizer, TextTokenizer

FACTS = "deployment.json"
NETWORK_FILES: Final = ("spec.json", "edits.json", "model.safetensors")
TOKENIZER_FILES: Final = ("tokenizer.json", "tokenizer_config.json")
_FILES: Final = {
    "onnxruntime": ("model.onnx",),
    "openvino": ("openvino_model.xml", "openvino_model.bin"),
    **dict.fromkeys(("torch", "torch_compiled", "folded"), NETWORK_FILES),
}
"""Of an engine of ours, by name: what it opens. Those of others say themselves what they miss."""


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
    engine = _engine(folder) if deployed else None
    place = folder if deployed else folder / TOKENIZER
    of_tokenizer = [str((place / name).relative_to(folder)) for name in TOKENIZER_FILES]
    needs = _FILES.get(engine.name, ()) if engine is not None else NETWORK_FILES
    check_folder(folder, (SERVING, *needs, *of_tokenizer))
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


def _engine(folder: Path) -> Engine:
    facts = read_facts(folder / FACTS)
    with broken(folder / FACTS, "name an engine"):
        return stored_engine(facts)


def _checked(answer: Answer, folder: Path, labels: int) -> Answer:
    """Return an engine's answers; whatever it raises on rows names the folder, and other logits are refused."""

    def checked(input_ids: Rows, attention_mask: Rows) -> Logits:
        try:
            logits = answer(input_ids, attention_mask)
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
