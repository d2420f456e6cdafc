"""The key of everything that is cached: a hash of its settings, its inputs, and the code that makes it."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from clinlm.store.kept_sources import reached_code

PLACES: Final = ("root", "lists_root", "gem")
"""Settings, at any depth, that say where files lie: their bytes count, by a fingerprint."""
NOT_COUNTED: Final = (
    *("role", "teachers"),  # names of stages; the keys of those that a stage learns from count
    *("trainer._target_", "trainer._partial_", "trainer.accelerator", "trainer.devices", "trainer.num_nodes"),
    *("trainer.strategy", "trainer.plugins", "trainer.profiler", "trainer.log_every_n_steps", "trainer.logger"),
    *("trainer.enable_progress_bar", "trainer.enable_model_summary", "trainer.default_root_dir"),
)
"""Dotted settings that change no result: what stages are called, where a stage trains, what is logged.

Any other setting of the trainer (`limit_train_batches`, say) counts.
"""
_LENGTH = 12


def cache_key(settings: Any, *inputs: Any, code: Iterable[str] = ()) -> str:
    """Return the key of what is made from `settings`: 12 hex digits, the same in every process.

    Args:
        settings: resolved, as JSON; without `PLACES` and `NOT_COUNTED`. The code that its `_target_`s reach counts.
        inputs: what else decides the result, as JSON: keys of what it is made from, fingerprints of files, versions.
        code: dotted paths of further functions and classes that make the result; see `clinlm.store.sources`.
    """
    kept = counted_settings(settings)
    return digest([kept, inputs, reached_code(kept, code)])


def counted_settings(settings: Any, path: str = "") -> Any:
    """Return settings without those that change no result: see `PLACES` and `NOT_COUNTED`."""
    if isinstance(settings, Mapping):
        kept = {name: value for name, value in settings.items() if name not in PLACES}
        paths = {name: f"{path}.{name}" if path else name for name in kept}
        return {name: counted_settings(kept[name], own) for name, own in paths.items() if own not in NOT_COUNTED}
    if isinstance(settings, list | tuple):
        return [counted_settings(value, f"{path}[]") for value in settings]
    return settings


def digest(content: Any) -> str:
    """Return 12 hex digits of the sha256 of anything made of JSON, in its canonical form.

    Raises:
        TypeError, ValueError: something that JSON cannot hold, such as an object or NaN.
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]
