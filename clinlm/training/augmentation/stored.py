"""Transfer sets in the store: made once, then shared by all stages."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from clinlm.store.content import claim, seal
from clinlm.store.key import cache_key, counted_settings
from clinlm.tasks.base import Task
from clinlm.tasks.transfer_set import TransferSet
from clinlm.training.augmentation.base import Augmentation

log = logging.getLogger(__name__)
_TEXTS = "texts.parquet"


def transfer_key(augmentation: Augmentation, settings: Mapping[str, Any], task_key: str) -> str:
    """Return the hash of all that the texts depend on; the training seed is not part of it.

    Args:
        task_key: of the opened task; depends on its seed.
    """
    return cache_key(settings, augmentation.fingerprint(), task_key)


def transfer_set(augmentation: Augmentation, settings: Mapping[str, Any], task: Task, task_key: str) -> TransferSet:
    """Return the texts from the store folder `transfer-<key>` beside the task's, or make them there, under its lock.

    They depend on the task's seed, so that the stages of a sweep over training seeds share them, as they share their
    test documents.

    Arguments as `transfer_key`.
    """
    assert task.folder is not None
    key = transfer_key(augmentation, settings, task_key)
    folder = TransferSet(key, ()).folder(task.folder.parent)
    with claim(folder) as whole:
        log.info("transfer set [%s] %s", key, "reused" if whole else "building")
        if not whole:
            texts = augmentation.texts(task, task.seed)
            pl.DataFrame({"text": texts}).write_parquet(folder / _TEXTS)
            facts = {"key": key, "task": task_key, "texts": len(texts), "settings": counted_settings(settings)}
            seal(folder, facts)
    return read_transfer_set(folder, key)


def read_transfer_set(folder: Path, key: str) -> TransferSet:
    """Return the texts of a sealed folder."""
    return TransferSet(key, pl.read_parquet(folder / _TEXTS)["text"].to_list())
