"""Arrays that are computed once and read again: each file holds the digest of what is in it and of where it belongs.

They are mapped, not read: what is larger than memory can be used, and the system drops pages that are not.
"""

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors import SafetensorError, safe_open

from clinlm.config.errors import DataError

_DIGEST = "sha256"
_NAMES: Final = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
}
"""Types of numpy, and what safetensors calls them."""
_TYPES: Final = {own: np.dtype(name) for name, own in _NAMES.items()}
_CHUNK: Final = 2**20
_IN_MEMORY: Final = 64 * 2**20
"""Bytes of an array that is not worth a file."""

Parts = np.ndarray | Sequence[np.ndarray]
"""An array, or several that are written as one, end to end."""


def save_arrays(path: Path, arrays: Mapping[str, Parts], facts: Mapping[str, str] | None = None) -> None:
    """Write arrays and facts to `path`, a file of safetensors, atomically, without a copy in memory.

    Args:
        path: FOLDER/KIND/NAME of a folder of the store; all three names are part of the digest.
        arrays: of the types in `_NAMES`; parts of one have the same type, and the same shape after the first axis.
    """
    path.parent.mkdir(exist_ok=True)
    draft = path.with_suffix(".draft")
    whole = {name: [parts] if isinstance(parts, np.ndarray) else [*parts] for name, parts in arrays.items()}
    # As the library orders them: by the size of a number, then by name; so all are aligned.
    names = sorted(whole, key=lambda name: (-whole[name][0].dtype.itemsize, name))
    header, offset, total = dict[str, Any](), 0, _begun(path, facts or {})
    for name in sorted(whole):
        total.update(_described(_shape(whole[name]), whole[name][0].dtype, name))
        for part in whole[name]:
            total.update(_bytes(part))
    told = {**(facts or {}), _DIGEST: total.hexdigest()}
    for name in names:
        size = sum(part.nbytes for part in whole[name])
        kind, shape = _NAMES[whole[name][0].dtype.name], _shape(whole[name])
        header[name] = {"dtype": kind, "shape": [*shape], "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps({"__metadata__": dict(sorted(told.items())), **header}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with draft.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            for part in whole[name]:
                file.write(_bytes(part))
    draft.replace(path)


def load_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the arrays and facts of `save_arrays`; the arrays are mapped, and what is written to them is not kept.

    Raises:
        DataError: the file is damaged, is that of another folder or name, or was written without a digest.
    """
    try:
        with safe_open(path, "numpy"):  # checks the header
            pass
        with path.open("rb") as file:
            start = 8 + int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(start - 8))
            facts = header.pop("__metadata__", {})
            expected, total = facts.pop(_DIGEST, None), _begun(path, facts)
            arrays = {}
            for name in sorted(header):
                kind, shape = _TYPES[header[name]["dtype"]], tuple(header[name]["shape"])
                first, end = (start + place for place in header[name]["data_offsets"])
                total.update(_described(shape, kind, name))
                file.seek(first)
                # Read, not through the map, whose pages would all count as memory of this process.
                for place in range(first, end, _CHUNK):
                    total.update(file.read(min(_CHUNK, end - place)))
                mapped = np.memmap(path, kind, "c", first, shape) if prod(shape) else np.zeros(shape, kind)
                arrays[name] = mapped.view(np.ndarray)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise DataError(f"{path} is damaged ({type(error).__name__})") from error
    if expected != total.hexdigest():
        raise DataError(f"{path} is not the file that was written there")
    return arrays, facts


def disk_array(folder: Path, shape: tuple[int, ...], kind: type[np.generic]) -> np.ndarray:
    """Return an array of zeros, for this process alone: in memory if it is small, else in a file without a name."""
    size = prod(shape) * np.dtype(kind).itemsize
    if size <= _IN_MEMORY:
        return np.zeros(shape, kind)
    with tempfile.TemporaryFile(prefix=".", dir=folder) as file:
        file.truncate(size)
        return np.memmap(file, kind, "r+", 0, shape).view(np.ndarray)


def _begun(path: Path, facts: Mapping[str, str]) -> Any:
    return hashlib.sha256(repr((path.parts[-3:], sorted(facts.items()))).encode())


def _described(shape: tuple[int, ...], kind: np.dtype[Any], name: str) -> bytes:
    return f"{name}{shape}{kind}".encode()


def _shape(parts: Sequence[np.ndarray]) -> tuple[int, ...]:
    return (sum(len(part) for part in parts), *parts[0].shape[1:]) if parts[0].ndim else ()


def _bytes(part: np.ndarray) -> Any:
    return np.ascontiguousarray(part).reshape(-1).view(np.uint8).data
