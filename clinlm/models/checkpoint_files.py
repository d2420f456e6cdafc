"""Files of a checkpoint folder: found, complete, and read without unpickling anything but tensors."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoConfig, BertConfig, PretrainedConfig

from clinlm.config.errors import ModelError
from clinlm.models.encoders import check_family

log = logging.getLogger(__name__)
_POINTER = b"version https://git-lfs"
_NAMED = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Weights as transformers names them, in its order of preference."""
_NAME_LENGTH = 256
_UNNAMED = (".safetensors", ".bin", ".ckpt", ".pt", ".pth")
_OTHER_FRAMEWORKS = ("*.h5", "*.msgpack", "*.ckpt.*", "*.onnx", "*.gguf")
_WRAPPERS = ("state_dict", "model_state_dict", "model", "module")
"""Entries under which training loops keep the weights."""
_FIRST_BERT = {"hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act"}


def read_config(folder: Path) -> PretrainedConfig:
    """Return the configuration of a checkpoint that can be fine-tuned.

    The first BERT checkpoints name no `model_type`: the entries of BERT, with two segments and without embeddings of
    their own width, are read as BERT's.

    Raises:
        ModelError: `config.json` is absent, damaged, names no family, or one that cannot be fine-tuned.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError(_explain_folder(folder))
    check_content(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} must be JSON, got a damaged file ({error}); copy it again") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} must be a JSON object, got a {type(content).__name__}; copy it again")
    if isinstance(content.get("model_type"), str):
        check_family(content, str(folder))
    elif not _FIRST_BERT <= content.keys() or content.get("type_vocab_size") != 2 or "embedding_size" in content:
        raise ModelError(
            f'{path} must name the family of the model, it does not; add a line as "model_type": "roberta"'
        )
    else:
        log.warning("%s names no model_type; its entries are BERT's, so it is read as bert", path)
    try:
        named = "model_type" in content
        config: PretrainedConfig = (
            AutoConfig.from_pretrained(folder, trust_remote_code=False) if named else BertConfig(**content)
        )
    except Exception as error:  # transformers checks entries with errors of several kinds
        reason = " ".join(str(error).split())
        raise ModelError(f"{path} must be a configuration that transformers can read; it says: {reason}") from error
    return config


def check_content(path: Path) -> None:
    """Check that a file holds its content, and safetensors all of their bytes.

    Raises:
        ModelError: it is empty, a pointer of git-lfs, or a cut or damaged file of weights.
    """
    with path.open("rb") as file:
        start = file.read(len(_POINTER))
    if start == _POINTER:
        raise ModelError(
            f"{path} must hold its content, got a pointer of git-lfs ({path.stat().st_size} bytes); run `git lfs pull` "
            f"in {path.parent}, or `hf download NAME --local-dir FOLDER`"
        )
    if not start:
        raise ModelError(f"{path} must hold its content, got an empty file; copy it again")
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, "pt"):
                pass
        except SafetensorError as error:
            raise _damaged(path, error) from error


def weight_files(folder: Path) -> list[Path]:
    """Return the files with the weights of a checkpoint: as transformers names them, or the only one there is.

    Raises:
        ModelError: there is none, are several, or one is not whole (see `check_content`).
    """
    named = next((folder / name for name in _NAMED if (folder / name).is_file()), None)
    files = [named] if named is not None else sorted(path for path in folder.iterdir() if path.suffix in _UNNAMED)
    if len(files) != 1:
        raise ModelError(_explain_weights(folder, files))
    if files[0].suffix == ".json":
        shards = _listed(files[0])
        absent = sorted({name for name in shards if not (folder / name).is_file()})
        if absent:
            raise ModelError(
                f"{folder} must hold every file that {files[0].name} lists, got none of {', '.join(absent)}; copy them"
            )
        files = [folder / name for name in sorted(set(shards))]
    for path in files:
        check_content(path)
    return files


def _listed(path: Path) -> list[str]:
    """Return the names of the files that an index of weights lists.

    Raises:
        ModelError: it lists something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        found = [None]
    names = [name for name in found if isinstance(name, str) and Path(name).name == name and len(name) < _NAME_LENGTH]
    if len(names) < len(found):
        raise ModelError(f"{path} must list files by their names in weight_map, it lists something else; copy it again")
    return names


def has_named_weights(folder: Path) -> bool:
    """Return whether there are weights under a name that transformers looks for."""
    return any((folder / name).is_file() for name in _NAMED)


def read_weights(files: list[Path]) -> dict[str, Tensor]:
    """Return the weights of a checkpoint by name, taken out of what a training loop saved around them.

    Raises:
        ModelError: a file is damaged, or holds Python objects, which are not unpickled.
    """
    weights: dict[str, Tensor] = {}
    for path in files:
        weights |= load_file(path) if path.suffix == ".safetensors" else _unwrapped(_read_tensors(path))
    return weights


def _read_tensors(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds, depending on which byte is missing
        if "GLOBAL" not in str(error):
            raise _damaged(path, error) from error
        raise ModelError(
            f"{path} must hold tensors only, got Python objects, which clinlm does not unpickle; write the weights "
            "alone: safetensors.torch.save_file(model.state_dict(), 'model.safetensors')"
        ) from error


def _unwrapped(content: Any) -> dict[str, Tensor]:
    while isinstance(content, Mapping):
        inside = [content[name] for name in _WRAPPERS if isinstance(content.get(name), Mapping)]
        if len(inside) != 1:
            return {name: value for name, value in content.items() if isinstance(value, Tensor)}
        content = inside[0]
    return {}


def _damaged(path: Path, error: Exception) -> ModelError:
    reason = str(error).splitlines()[0]
    return ModelError(
        f"{path} must hold all its weights, got a cut or damaged file of {path.stat().st_size:,} bytes ({reason}); "
        "copy it again"
    )


def _explain_folder(folder: Path) -> str:
    if (folder / "spec.json").is_file():
        return f"{folder} must be a checkpoint of transformers, got an artifact of clinlm; name its first checkpoint"
    found = sorted(path.name for path in folder.iterdir())
    shown = f"{', '.join(found[:5])}{', …' if len(found) > 5 else ''}" if found else "nothing"
    return f"{folder} must hold a checkpoint of transformers with its config.json, got {shown}; copy the whole folder"


def _explain_weights(folder: Path, files: list[Path]) -> str:
    if files:
        names = ", ".join(path.name for path in files)
        return f"{folder} must hold one file of weights, got {names}; call the right one model.safetensors"
    other = sorted({path.name for pattern in _OTHER_FRAMEWORKS for path in folder.glob(pattern)})
    if other:
        return (
            f"{folder} must hold weights of PyTorch, got those of another framework only ({', '.join(other)}); convert "
            "them with transformers < 5: AutoModel.from_pretrained(FOLDER, from_tf=True).save_pretrained(FOLDER), or "
            "from_flax=True"
        )
    return f"{folder} must hold weights, got none of {', '.join(_NAMED)}; copy them"
