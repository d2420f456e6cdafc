"""What a run on W&B holds: its columns, tables, pictures and artifacts."""

import json
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from clinlm.tracking.base import TrackedArtifact, TrackedRun

if TYPE_CHECKING:
    import wandb

_PICTURES = (".png", ".jpg")
_OFFLINE_S = 600.0
_TAG = 64
"""Characters that a tag may have."""
_KEPT_S = 24 * 3600
"""Age of staged files that a killed run has left for sure."""


@contextmanager
def staging(folder: str) -> Iterator[None]:
    """Let wandb stage what it sends in `<folder>/wandb/tmp`: in the system's folder a killed run leaves it for ever.

    wandb chooses the folders of media and artifacts when it is imported, others later.
    """
    place, before = Path(folder).absolute() / "wandb" / "tmp", tempfile.tempdir
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in place.iterdir():
        if time.time() - left.stat().st_mtime > _KEPT_S:
            shutil.rmtree(left, ignore_errors=True)
    tempfile.tempdir = str(place)
    try:
        import wandb  # noqa: F401

        yield
    finally:
        tempfile.tempdir = before
        with suppress(OSError):  # there is something in it
            place.rmdir()
            place.parent.rmdir()


def attempt_id(name: str, key: str) -> str:
    """Return an id that no other run has: name, key, and the second of this attempt with four random digits.

    A server refuses an id that was deleted on it, and would mix runs that share one.
    """
    attempt = f"{time.strftime('%y%m%d%H%M%S')}{secrets.token_hex(2)}"
    parts = [re.sub(r"[^\w.-]+", "-", own) for own in (name, "" if key in name else key, attempt) if own]
    return "-".join(parts)[-128:]


def quiet_settings(timeout_s: float | None, sweep_id: str | None = None) -> "wandb.Settings":
    """Return settings with which wandb prints nothing, and copies no code.

    Args:
        timeout_s: that a server has to take a run, and the rest of it at the end; None for no server: the disk is
            waited for.
    """
    import wandb

    return wandb.Settings(
        console="off",
        silent=True,
        save_code=False,
        disable_git=True,
        x_disable_stats=True,
        init_timeout=timeout_s or _OFFLINE_S,
        finish_timeout=timeout_s or 0.0,
        x_graphql_timeout_seconds=timeout_s,
        sweep_id=sweep_id,
    )


def fill(run: "wandb.Run", tracked: TrackedRun, upload: bool) -> None:
    """Send all that is known of a finished run.

    Args:
        upload: whether artifacts have the files of models.
    """
    run.name = tracked.name
    run.notes = tracked.command
    run.tags = tuple(tag[:_TAG] for tag in tracked.tags)
    config: Any = run.config
    config.update(dict(tracked.settings), allow_val_change=True)
    summary: Any = run.summary
    summary.update(dict(tracked.summary))
    # Tables are read from the summary; a page or picture is shown of a step.
    summary.update({f"tables/{name}": wandb_table(table) for name, table in tracked.tables.items()})
    if tracked.files:
        run.log(_media(tracked))
    for used in tracked.uses:
        # As the public `use_artifact` logs a draft, which refuses to work offline; `wandb sync` sends it.
        run._log_artifact(_artifact(used, upload), is_user_created=True, use_after_commit=True)
    for made in tracked.makes:
        run.log_artifact(_artifact(made, upload))


def _media(tracked: TrackedRun) -> dict[str, Any]:
    """Return pages and pictures by name."""
    import wandb

    found: dict[str, Any] = {}
    for name, path in tracked.files.items():
        if path.suffix in _PICTURES:
            found[f"plots/{name}"] = wandb.Image(str(path))
        else:
            found[name] = wandb.Html(path.read_text(encoding="utf-8"), inject=False)
    return found


def wandb_table(table: pl.DataFrame) -> "wandb.Table":
    """Return a table; columns may hold null."""
    import wandb

    return wandb.Table(columns=[*table.columns], data=[list(row) for row in table.rows()], allow_mixed_types=True)


def _artifact(tracked: TrackedArtifact, upload: bool) -> "wandb.Artifact":
    """Return an artifact whose digest depends on nothing but its contents: logged twice, it is one version."""
    import wandb

    artifact = wandb.Artifact(re.sub(r"[^\w.-]+", "-", tracked.name), type=tracked.kind, metadata=dict(tracked.facts))
    with artifact.new_file("digests.json", encoding="utf-8") as file:
        json.dump({"name": tracked.name, "files": dict(sorted(tracked.digests.items()))}, file, indent=1)
    if upload and tracked.folder is not None:
        for name in tracked.digests:
            artifact.add_file(str(tracked.folder / name), name=name, policy="immutable")
    return artifact
