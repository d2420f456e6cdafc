"""Folders of models that may come from elsewhere: what must be in them, and errors that name the file."""

import errno
import json
import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np

from clinlm.config.errors import ClinlmError, MissingFileError, ModelError
from clinlm.store.content import Damaged, sealed, verify
from clinlm.tasks.inference_config import SERVING, InferenceConfig, Kind

REMEDY: Final = "copy the folder again, or run its pipeline again"
_LONGEST = 2**20
_NOT_OF_THE_FILE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EACCES)
"""Errors that say what is wrong themselves, and not with the folder."""
_PANIC = "PanicException"
"""Of libraries in Rust (tokenizers, polars): no `Exception`, and of a class of its own in each."""


def check_folder(folder: Path, needs: Collection[str]) -> None:
    """Check that a model has all its files, as regular files of its folder, and as its record says where it has one.

    A copy may lack the record.

    Raises:
        MissingFileError: a file is missing.
        Damaged: a file differs from the record, or the record lacks one.
        ModelError: a file is a link to elsewhere.
    """
    for name in needs:
        if not (folder / name).is_file():
            raise MissingFileError(f"an artifact or deployment must have a {name}, {folder} has none; {REMEDY}")
    if sealed(folder):
        try:
            verify(folder, needs)
        except Damaged as damage:
            raise Damaged(f"{damage}; {REMEDY}") from damage
    place = folder.resolve()
    for name in needs:
        if (folder / name).resolve() != place / name:
            raise ModelError(f"files of a model must lie in its folder, got {folder / name}, which is a link; copy it")


def read_facts(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file of a model.

    Raises:
        ModelError: the file holds something else.
    """
    with broken(path):
        content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ModelError(f"{path} must hold a JSON object, got a {type(content).__name__}; {REMEDY}")
    return content


def read_serving(folder: Path) -> InferenceConfig:
    """Return how the model of a folder is applied; of `InferenceConfig.load`, for files that nobody vouches for.

    Raises:
        MissingFileError: `folder` is no artifact or deployment.
        ModelError: the file is damaged, or a value of it cannot be.
    """
    with broken(folder / SERVING):
        config = InferenceConfig.load(folder)
        wrong = next(_wrong_values(config), "")
    if wrong:
        raise ModelError(f"{folder / SERVING} must have {wrong}; {REMEDY}")
    return config


def _wrong_values(config: InferenceConfig) -> Iterator[str]:
    """Yield what does not hold for the values of a `serving.json`."""
    labels = len(config.labels)
    if config.kind not in get_args(Kind):
        yield f"a kind of {', '.join(get_args(Kind))}"
    if not labels or {*map(type, config.labels)} != {str} or len({*config.labels}) < labels:
        yield "labels that are different texts"
    if config.thresholds is not None and (
        config.thresholds.shape != (labels,) or not ((config.thresholds >= 0) & (config.thresholds <= 1)).all()
    ):
        yield f"one threshold in [0, 1] for each of {labels} labels"
    if type(config.max_tokens) is not int or not 1 <= config.max_tokens <= _LONGEST:
        yield f"max_tokens from 1 to {_LONGEST:,}"
    if type(config.temperature) not in (int, float) or not 0 < config.temperature < math.inf:
        yield "a temperature above 0"
    if type(config.alone) is not bool:
        yield "true or false for alone"
    way: Any = config.long_notes
    for field in fields(way):
        kinds = (int,) if field.name == "most" else (str,) if field.name == "pooling" else (int, float)
        if type(getattr(way, field.name)) not in kinds:
            yield f"a number or word for long_notes.{field.name}"
    for own in config.conformal:
        numbers = np.array([own.coverage, own.possible, *own.present, *own.absent], dtype=np.float64)
        if not np.isfinite(numbers).all() or not {len(own.present), len(own.absent)} <= {0, labels}:
            yield f"conformal thresholds for {labels} labels"


@contextmanager
def broken(path: Path, what: str = "be readable") -> Iterator[None]:
    """Turn what a library or our own reading says of a broken file or folder into one paragraph that names it.

    Raises:
        ModelError: whatever was raised; an error that a user can mend keeps its kind. The cause is kept. Want of
            memory, room or rights is raised as it is.
    """
    try:
        yield
    except ClinlmError as error:
        if str(path) in str(error):
            raise
        raise type(error)(f"{path}: {error}") from error
    except BaseException as error:
        passed = isinstance(error, MemoryError) or getattr(error, "errno", None) in _NOT_OF_THE_FILE
        if passed or (not isinstance(error, Exception) and type(error).__name__ != _PANIC):
            raise
        lines = str(error).strip().splitlines()
        said = f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
        raise ModelError(f"{path} must {what}, got {said}; {REMEDY}") from error
