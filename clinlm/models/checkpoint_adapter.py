"""A folder of peft as a checkpoint: its base is found and read, and the adapter merged into it."""

import logging
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
from peft.utils import set_peft_model_state_dict
from torch import Tensor, nn

from clinlm.config.errors import ModelError
from clinlm.models.checkpoint_files import check_content, read_weights
from clinlm.models.checkpoint_place import BASE, CONFIG, adapter_base, adapter_settings

log = logging.getLogger(__name__)
_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_DRAWN = ("pissa_niter", "corda", "loftq")
"""Starts of LoRA that cannot be repeated: they take a part out of the base that depends on chance or data."""
_PEFT = "base_model.model."
"""Before the names of all weights that peft saves."""


def read_adapted(folder: Path, read: Callable[[str, str | None], tuple[Any, Any]]) -> tuple[Any, Any]:
    """Return what `read` returns for the base of an adapter, an encoder and more, with the adapter merged into it.

    Raises:
        ModelError: the base cannot be read, the adapter cannot be merged, or does not fit the base.
    """
    base, revision = adapter_base(folder)
    try:
        body, rest = read(base, revision)
    except ModelError as error:
        raise ModelError(f"the base of the adapter {folder} ({BASE} in {CONFIG}) cannot be read: {error}") from error
    merge_adapter(body, folder, base)
    return body, rest


def merge_adapter(body: nn.Module, folder: Path, base: str) -> None:
    """Merge the adapter of a folder into an encoder, which has its own modules again afterwards.

    A head that was saved with the adapter is left out, as every task gets a head of its own.

    Args:
        base: what the encoder was read from, for messages.

    Raises:
        ModelError: the method of the adapter cannot be merged; its weights are absent, damaged or not finite, have
            names that the encoder lacks, or other sizes.
    """
    config, weights = _mergeable(folder), _weights(folder)
    prefix = _prefix(body, weights)
    if prefix is None:
        raise ModelError(
            f"the adapter {folder} must belong to its base {base}, got none of the layers of a {type(body).__name__} "
            f"among its weights; correct {BASE} in {CONFIG}"
        )
    start = f"{_PEFT}{prefix}." if prefix else _PEFT
    own = {name: tensor for name, tensor in weights.items() if name.startswith(start) or _PEFT not in name}
    if len(own) < len(weights):
        log.info("%s: its head is left out (%d tensors)", folder, len(weights) - len(own))
    try:
        with warnings.catch_warnings():  # peft 0.21 asks transformers 5 for an attribute by its old name
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing")
            tuned = PeftModel(_inside(body, prefix), config)
        found: Any = set_peft_model_state_dict(tuned, own)
    except (RuntimeError, ValueError, KeyError) as error:
        reason = next((line for line in str(error).splitlines() if "mismatch" in line), str(error)).strip()
        raise ModelError(
            f"the adapter {folder} must fit its base {base}, it does not ({reason}); correct {BASE} in {CONFIG}"
        ) from error
    missing = [name for name in found.missing_keys if tuned.base_model.prefix in name]
    if missing or found.unexpected_keys:
        raise ModelError(
            f"the adapter {folder} must have the weights that its {CONFIG} describes, got {len(missing)} missing and "
            f"{len(found.unexpected_keys)} others ({[*missing, *found.unexpected_keys][0]}); copy the whole folder, or "
            f"correct {BASE}"
        )
    try:
        tuned.merge_and_unload(safe_merge=True)
    except (ValueError, RuntimeError, NotImplementedError, AttributeError) as error:
        raise ModelError(f"the adapter {folder} cannot be merged into its base: {error}") from error
    body.requires_grad_(True)


def _mergeable(folder: Path) -> PeftConfig:
    """Return the configuration, for an encoder without the head that was saved beside it."""
    kind = str(adapter_settings(folder)["peft_type"])
    tuners = {own.value: tuner for own, tuner in PEFT_TYPE_TO_TUNER_MAPPING.items()}
    if not hasattr(tuners.get(kind), "merge_and_unload"):
        raise ModelError(
            f"the adapter {folder} must be of a kind that can be merged into weights (LoRA, DoRA, AdaLoRA, VeRA, IA3, "
            f"...), got {kind}, which adds tokens or layers; train such a model with peft, or choose another adapter"
        )
    config: Any = PeftConfig.from_pretrained(str(folder))
    start = str(config.to_dict().get("init_lora_weights"))
    if start.startswith(_DRAWN):
        raise ModelError(
            f"the adapter {folder} must say what its base was, got init_lora_weights={start!r}, which changes the base "
            "by chance or by data; save it with `path_initial_model_for_weight_conversion`, which makes it plain LoRA"
        )
    config.inference_mode, config.modules_to_save = True, None
    made: PeftConfig = config
    return made


def _weights(folder: Path) -> dict[str, Tensor]:
    files = [folder / name for name in _WEIGHTS if (folder / name).is_file()]
    if not files:
        raise ModelError(f"{folder} must hold the weights of the adapter, got no {_WEIGHTS[0]}; copy the whole folder")
    check_content(files[0])
    weights = {name: tensor.float() for name, tensor in read_weights(files[:1]).items()}
    broken = [name for name, tensor in weights.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise ModelError(f"{files[0]} must hold finite weights, got NaN or infinity in {broken[0]}; copy it again")
    return weights


def _prefix(body: nn.Module, weights: Mapping[str, Tensor]) -> str | None:
    """Return what stands before the names of the encoder's layers (`bert`, where a head was adapted too), or None."""
    layers = {name for name, module in body.named_modules() if isinstance(module, nn.Linear | nn.Embedding)}
    ends = Counter(
        name.removeprefix(_PEFT).partition(layer)[0].rstrip(".")
        for name in weights
        for layer in layers
        if f".{layer}." in f".{name.removeprefix(_PEFT)}"
    )
    return ends.most_common(1)[0][0] if ends else None


def _inside(body: nn.Module, prefix: str) -> nn.Module:
    """Return modules in which the encoder has the name `prefix`; the encoder itself for ""."""
    whole = body
    for name in reversed(prefix.split(".") if prefix else []):
        outer = nn.Module()
        outer.add_module(name, whole)
        whole = outer
    return whole
