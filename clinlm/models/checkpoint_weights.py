"""Weights of a checkpoint in an encoder: every one is there, fits and is a number, or an error names it."""

import logging
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import AutoModel, PretrainedConfig

from clinlm.config.errors import ModelError
from clinlm.models.checkpoint_files import has_named_weights, read_weights, weight_files
from clinlm.models.model import in_parts

log = logging.getLogger(__name__)
_UNUSED = ("pooler.", "contact_head.")
"""Parts of an encoder that `clinlm.models.model.Network` does not run; a checkpoint may lack them."""
_FIRST_NAMES = {"gamma": "weight", "beta": "bias"}
"""Of norms, in checkpoints that were converted from TensorFlow."""
_SHOWN = 3


def load_body(place: str, folder: Path, revision: str | None, config: PretrainedConfig) -> nn.Module:
    """Return the encoder of a checkpoint, without its pooler, in float32 and evaluation mode.

    Weights with one prefix before all names (`model.`, `module.encoder.`) are loaded, and those that a training loop
    saved inside its own checkpoint.

    Args:
        place: folder or hub name, as transformers takes it.
        folder: where its files are.
        config: as in `config.json`, but for dropout.

    Raises:
        OSError: (for a hub name) the weights are neither cached nor downloadable.
        ModelError: a weight is missing, has another shape than `config` says, or is not finite; or as `weight_files`.
    """
    local = Path(place).is_dir()
    files = weight_files(folder) if local else []
    report: Mapping[str, Any] = {}
    body: nn.Module | None = None
    if has_named_weights(folder) or not local:
        try:
            body, report = _load_by_transformers(place, revision, config)
        except Exception as error:  # transformers and torch raise many kinds for a file that they cannot read
            if not local:
                raise
            read_weights(files)
            reason = str(error).splitlines()[0]
            raise ModelError(f"{folder} must hold weights that transformers can read; it says: {reason}") from error
    if body is None or [name for name in report["missing_keys"] if _is_used(name)]:
        body = AutoModel.from_config(config, dtype=torch.float32, trust_remote_code=False)
        _load_by_names(body, read_weights(files or weight_files(folder)), folder)
    else:
        _check_shapes({name: (found, wanted) for name, found, wanted in report["mismatched_keys"]}, folder)
        own = f"{body.base_model_prefix}."
        _warn_of_rest(body, [name.removeprefix(own) for name in report["unexpected_keys"]], folder)
    body = in_parts(body)
    _check_finite(body, folder)
    return body.eval()


def _load_by_transformers(place: str, revision: str | None, config: PretrainedConfig) -> tuple[Any, Mapping[str, Any]]:
    """Return the encoder, and which weights are missing, have another shape, or have no place in it."""
    with _quiet():
        loaded: tuple[Any, Mapping[str, Any]] = AutoModel.from_pretrained(
            place,
            revision=revision,
            config=config,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported, as are missing ones
            trust_remote_code=False,
        )
    return loaded


def _load_by_names(body: nn.Module, weights: Mapping[str, Tensor], folder: Path) -> None:
    """Load the weights whose names, without one prefix, are those of the encoder.

    Raises:
        ModelError: no prefix, or more than one, leads to every weight; or as `_check_shapes`.
    """
    weights = {_renamed(name): tensor for name, tensor in weights.items()}
    wanted = {name: tensor for name, tensor in body.state_dict().items() if _is_used(name)}
    ends = Counter(found.removesuffix(name) for name in wanted for found in weights if found.endswith(name))
    prefixes = Counter({prefix: count for prefix, count in ends.items() if prefix == "" or prefix.endswith(".")})
    whole = [prefix for prefix, count in prefixes.items() if count == len(wanted)]
    if len(whole) != 1:
        raise ModelError(_explain_names(wanted, weights, prefixes, whole, folder))
    (prefix,) = whole
    _check_shapes({name: (weights[prefix + name].shape, tensor.shape) for name, tensor in wanted.items()}, folder)
    body.load_state_dict({name: weights[prefix + name] for name in wanted}, strict=False)
    log.warning("%s: the weights are those whose names begin with %r", folder, prefix)
    _warn_of_rest(body, [name.removeprefix(prefix) for name in weights if name.startswith(prefix)], folder)


def _explain_names(
    wanted: Collection[str],
    weights: Collection[str],
    prefixes: Counter[str],
    whole: Sequence[str],
    folder: Path,
) -> str:
    if whole:
        return (
            f"{folder} must hold the weights of one encoder, got those of {len(whole)}, whose names begin with "
            f"{_some(sorted(whole))}; keep one of them"
        )
    rule = f"{folder} must hold all {len(wanted)} weights of the encoder that its config.json describes"
    if not prefixes:
        return (
            f"{rule}, got none of them among {len(weights)} ({_some(sorted(weights))}); keep the names of transformers"
        )
    (prefix, most), *_ = prefixes.most_common(1)
    place = f"under names that begin with {prefix!r}" if prefix else "under their own names"
    missing = [name for name in wanted if prefix + name not in weights]
    return f"{rule}, got {most} {place}; missing: {_some(missing)}; save the whole encoder, or correct config.json"


def _check_shapes(shapes: Mapping[str, tuple[Sequence[int], Sequence[int]]], folder: Path) -> None:
    wrong = [
        f"{name} is {_times(found)}, not {_times(wanted)}"
        for name, (found, wanted) in shapes.items()
        if tuple(found) != tuple(wanted) and _is_used(name)
    ]
    if wrong:
        raise ModelError(
            f"{folder} must hold weights of the shapes that its config.json describes, got others: {_some(wrong)}; use "
            "the config.json of these weights"
        )


def _warn_of_rest(body: nn.Module, names: Sequence[str], folder: Path) -> None:
    """Warn of weights that seem to be the encoder's, such as further layers, and have no place in it."""
    known = {name for name, _ in body.named_parameters()}
    parts = tuple(f"{name}." for name, _ in body.named_children())
    rest = [name for name in names if name.startswith(parts) and name.endswith((".weight", ".bias")) and _is_used(name)]
    rest = sorted({*rest} - known)
    if rest:
        log.warning(
            "%s: %d weights have no place in the encoder of its config.json (%s)", folder, len(rest), _some(rest)
        )


def _check_finite(body: nn.Module, folder: Path) -> None:
    broken = [name for name, tensor in body.state_dict().items() if not bool(tensor.isfinite().all())]
    if broken:
        raise ModelError(
            f"{folder} must hold finite weights, got NaN or infinity in {len(broken)} ({_some(broken)}); take an "
            "earlier checkpoint of its training"
        )


def _is_used(name: str) -> bool:
    return not name.startswith(_UNUSED)


def _renamed(name: str) -> str:
    place, _, last = name.rpartition(".")
    return f"{place}.{_FIRST_NAMES[last]}" if last in _FIRST_NAMES else name


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


def _times(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the loading report of transformers: what is wrong in it becomes an error here."""
    before = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers.utils.logging.set_verbosity(before)
