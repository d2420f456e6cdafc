"""The checkpoint that a stage continues from, and beside it its digest: any other one is not continued."""

import json
import logging
import os
import time
from pathlib import Path

from clinlm.store.content import sha256, write_json
from clinlm.store.locks import require_lease

log = logging.getLogger(__name__)

CHECKPOINT = "last.ckpt"
CHECKPOINT_DIGESTS = f"{CHECKPOINT}.json"


def put_checkpoint(draft: Path) -> None:
    """Make `draft`, a file in the folder of a stage, the checkpoint of that stage.

    The digests are written first, those of the old and of the new one: whenever the process is killed, the file that
    is there has one of them.

    Raises:
        LostLease: another process has taken the stage meanwhile.
    """
    folder = draft.parent
    require_lease(folder)
    known = [sha256(folder / CHECKPOINT)] if (folder / CHECKPOINT).is_file() else []
    write_json(folder / CHECKPOINT_DIGESTS, {"folder": folder.name, "sha256": [sha256(draft), *known]})
    os.replace(draft, folder / CHECKPOINT)


def find_checkpoint(folder: Path) -> Path | None:
    """Return the checkpoint of a stage; None where there is none.

    One that is not as `put_checkpoint` left it is moved out of the folder, with a warning.
    """
    path = folder / CHECKPOINT
    if not path.exists() and not path.is_symlink():
        return None
    if not path.is_symlink() and path.is_file() and _is_own(path):
        return path
    aside = folder.with_name(f"{folder.name}.{CHECKPOINT}.damaged-{time.time_ns()}")
    os.replace(path, aside)
    drop_checkpoint(folder)
    log.warning("%s is damaged, or not of this stage; moved to %s, and the stage starts again", path, aside.name)
    return None


def drop_checkpoint(folder: Path) -> None:
    """Remove the checkpoint of a stage that is done, and its digest."""
    for name in (CHECKPOINT, CHECKPOINT_DIGESTS):
        (folder / name).unlink(missing_ok=True)


def _is_own(path: Path) -> bool:
    try:
        known = json.loads((path.parent / CHECKPOINT_DIGESTS).read_text(encoding="utf-8"))
        return known["folder"] == path.parent.name and sha256(path) in known["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
