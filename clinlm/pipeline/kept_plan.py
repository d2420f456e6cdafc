"""Plans in the store: a plan that was made before by the same code is read again, without importing what trains."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from omegaconf import DictConfig

from clinlm.config.class_paths import OWN_PACKAGES
from clinlm.config.settings import plain
from clinlm.config.targets import is_library
from clinlm.config.usage import left_out
from clinlm.models.checkpoint_place import CheckpointPlace
from clinlm.pipeline.stage_spec import StageSpec
from clinlm.store.content import write_files
from clinlm.store.locks import make_store
from clinlm.store.own_code import may_keep, running_code
from clinlm.store.sources import named_targets

PLANS: Final = "plans"
_MOST: Final = 500
"""Plans kept in a store; of more, those that were made first go."""


def planned_stages(config: DictConfig, root: Path) -> list[StageSpec]:
    """Return what `clinlm.pipeline.plan.plan` returns for `config`, from the store `root` if it is there.

    Everything that it depends on is in the name of the file, but for the checkpoints that stages start from: it is made
    again where one of them has other files. One is always made, and never kept, where that is not known to be all: its
    classes come from elsewhere, its texts from files, or files of this project changed since this process began.

    Raises:
        ClinlmError: as `plan`.
    """
    name = _name(config)
    path = root / PLANS / f"{name}.json"
    found = None if name is None else _read(path)
    if found is None:
        from clinlm.pipeline.plan import plan  # imports Lightning, transformers and torch

        found = plan(config)
        if name is not None and may_keep():
            _write(path, found)
    return found


def _name(config: DictConfig) -> str | None:
    """Return a digest of all that a plan depends on, but for checkpoints; None where there is more."""
    absent = left_out(config)  # they need not resolve
    stages = {str(name): plain(config.stages[name]) for name in config.stages or {} if str(name) not in absent}
    content = [stages, absent, None if config.get("gate") is None else plain(config.gate)]
    known = all(target.startswith(OWN_PACKAGES) or is_library(target) for target in named_targets(content))
    text = _text(content) if known and running_code() else None
    return None if text is None else _digest(running_code(), text)


def _read(path: Path) -> list[StageSpec] | None:
    """Return the plan in a file; None if there is none, it is damaged or another's, or a checkpoint has changed."""
    try:
        checked, _, text = path.read_text(encoding="utf-8").partition("\n")
        if checked != _digest(path.stem, text):
            return None
        found = [_spec(own) for own in json.loads(text)]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    own = [(spec.checkpoint, spec.fingerprint) for spec in found if spec.checkpoint is not None]
    return found if all(place.fingerprint() == fingerprint for place, fingerprint in own) else None


def _write(path: Path, stages: Sequence[StageSpec]) -> None:
    """Keep a plan, unless it depends on files which no reader of it would look at, or JSON does not hold it."""
    text = _text([asdict(spec) for spec in stages])
    if text is None or any(spec.texts is not None and spec.texts.strip() for spec in stages):
        return
    if [_spec(own) for own in json.loads(text)] == list(stages):
        with suppress(OSError):  # a store that cannot be written
            make_store(path.parent.parent)
            path.parent.mkdir(mode=0o700, exist_ok=True)
            write_files(path.parent, {path.name: f"{_digest(path.stem, text)}\n{text}"})
            every = sorted(path.parent.glob("*.json"), key=lambda own: own.stat().st_mtime_ns)
            for old in every[:-_MOST]:
                old.unlink(missing_ok=True)


def _text(content: Any) -> str | None:
    """Return JSON in the order of `content`, in which callbacks are called; None if it cannot hold it."""
    try:
        return json.dumps(content, allow_nan=False)
    except (TypeError, ValueError):
        return None


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _spec(content: dict[str, Any]) -> StageSpec:
    place = content["checkpoint"]
    several = {name: tuple(content[name]) for name in ("teachers", "techniques")}
    return StageSpec(**content | several | {"checkpoint": None if place is None else CheckpointPlace(**place)})
