"""Arrays that are computed once and read again: each file holds the digest of what is in it and of where it belongs."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from clinlm.config.errors import DataError

_DIGEST = "sha256"


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray], facts: Mapping[str, str] | None = None) -> None:
    """Write arrays and facts to `path`, atomically.

    Args:
        path: FOLDER/KIND/NAME of a folder of the store; all three names are part of the digest.
    """
    path.parent.mkdir(exist_ok=True)
    draft = path.with_suffix(".draft")
    whole = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
    told = dict(facts or {})
    save_file(whole, draft, told | {_DIGEST: _digest(path, whole, told)})
    _order_facts(draft)
    draft.replace(path)


def _order_facts(path: Path) -> None:
    """Put the metadata in the header of a safetensors file in order: the library writes a hash map, as it comes."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        ordered = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode().ljust(length)
        if len(ordered) == length:  # else the library spells a name in another way
            file.seek(8)
            file.write(ordered)


def load_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the arrays and facts of `save_arrays`.

    Raises:
        DataError: the file is damaged, is that of another folder or name, or was written without a digest.
    """
    try:
        with safe_open(path, "numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}
            facts = dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} is damaged ({type(error).__name__})") from error
    if facts.pop(_DIGEST, None) != _digest(path, arrays, facts):
        raise DataError(f"{path} is not the file that was written there")
    return arrays, facts


def _digest(path: Path, arrays: Mapping[str, np.ndarray], facts: Mapping[str, str]) -> str:
    total = hashlib.sha256(repr((path.parts[-3:], sorted(facts.items()))).encode())
    for name in sorted(arrays):
        total.update(f"{name}{arrays[name].shape}{arrays[name].dtype}".encode())
        total.update(np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8).data)
    return total.hexdigest()
