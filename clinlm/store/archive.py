"""Entries of a store as one tar file, and back: each with its record and the files in it, and nothing else."""

import json
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Final, cast

from clinlm.config.errors import ConfigError, DataError, MissingFileError
from clinlm.store.content import RECORD, Damaged, read_record, sealed, set_aside, verified
from clinlm.store.inventory import FOLDER
from clinlm.store.locks import if_free, make_store

_PLAIN: Final = re.compile(r"(?!\.)[\w.-]{1,200}")
"""Names of files and folders that are written here: no `..`, none that is hidden, no separator of any system."""
_MOST_RECORD: Final = 64 * 2**20
"""Bytes of a record: more is none of ours."""


def write_archive(folders: Sequence[Path], output: Path) -> int:
    """Write complete folders into a tar file, for its owner alone, after every file was compared with its record.

    Args:
        folders: in the order in which they are read again: parents first.
        output: a file that does not exist.

    Returns:
        its size in bytes.

    Raises:
        ConfigError: `output` exists.
        Damaged: a folder is not as it was made.
    """
    if output.exists():
        raise ConfigError(f"output must be a new file, got {output}, which exists; remove it, or name another")
    draft = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        with open(draft, "xb", opener=_private) as file, tarfile.open(fileobj=file, mode="w") as archive:
            for folder in folders:
                for name in [RECORD, *sorted(read_record(verified(folder))["files"])]:
                    archive.add(folder / name, f"{folder.name}/{name}", recursive=False, filter=_plain)
        os.replace(draft, output)
    finally:
        draft.unlink(missing_ok=True)
    return output.stat().st_size


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out of an archive whose the files were, and when they were written."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    member.mode = 0o600
    return member


def read_archive(path: Path, root: Path) -> Iterator[tuple[str, bool]]:
    """Put what `write_archive` wrote into the store `root`; yield the name of every folder, and whether it is new.

    Everything is read into a folder of its own first, and compared with its record; then each folder is renamed into
    the store, under its lock. What is there already stays, and must be equal.

    Raises:
        MissingFileError: there is no such file.
        DataError: the file is no such archive, or damaged; nothing of it is in the store.
        ConfigError: the store has something else under one of the names, or a process is building it.
    """
    if not path.is_file():
        raise MissingFileError(f"FILE must be one of clinlm store export, got {path}, which is no file")
    make_store(root)
    draft = Path(tempfile.mkdtemp(prefix=".import-", dir=root))
    try:
        try:
            with tarfile.open(path, "r:") as archive:
                names = _extract(archive, draft)
        except tarfile.TarError as error:
            raise DataError(f"{path} must be a file of clinlm store export, got none, or a part of one") from error
        for name in names:
            _check_whole(draft / name, path)
        with ExitStack() as stack:
            for name in names:
                stack.enter_context(_free(root / name))
            new = {name: not _is_there(root / name, draft / name) for name in names}
            for name in names:
                if new[name]:
                    os.rename(draft / name, root / name)
                yield name, new[name]
    finally:
        shutil.rmtree(draft)


def _extract(archive: tarfile.TarFile, draft: Path) -> list[str]:
    """Write the files of an archive into `draft`; return the names of its folders, in order.

    Raises:
        DataError: one of them is no plain file in a folder named as those of a store are.
    """
    names: dict[str, None] = {}
    for member in archive:
        parts = member.name.split("/")
        plain = member.isreg() and not member.issparse() and is_plain(member.name)
        if not plain or len(parts) < 2 or not FOLDER.fullmatch(parts[0]):
            raise DataError(
                f"an archive must hold plain files in folders STAGE-KEY, got {member.name!r}; nothing was imported"
            )
        names[parts[0]] = None
        place = draft.joinpath(*parts)
        with suppress(FileExistsError, NotADirectoryError):
            (draft / parts[0]).mkdir(mode=0o700, exist_ok=True)
            place.parent.mkdir(parents=True, exist_ok=True)
            with open(place, "xb", opener=_private) as file:
                shutil.copyfileobj(cast(IO[bytes], archive.extractfile(member)), file)
            continue
        raise DataError(f"an archive must hold every file once, got {member.name!r} again; nothing was imported")
    if not names:
        raise DataError("an archive must hold a folder of a store, got nothing")
    return [*names]


def is_plain(name: str) -> bool:
    """Return whether a path with `/` is one that may be written: see `_PLAIN`."""
    return all(map(_PLAIN.fullmatch, name.split("/")))


def _check_whole(folder: Path, path: Path) -> None:
    """Check that a folder is as it was made, with a record of its own, and holds nothing else.

    Raises:
        DataError: it is not.
    """
    record = folder / RECORD
    if not record.is_file() or record.stat().st_size > _MOST_RECORD:
        raise DataError(f"{path} must have a {RECORD} for every folder, got none for {folder.name}")
    try:
        verified(folder)
    except Damaged as damage:
        reason = str(damage).partition(";")[0].replace(f"{folder.parent}{os.sep}", "")
        raise DataError(f"{path} is damaged: {reason}; nothing was imported, export it again") from damage
    known = {RECORD, *read_record(folder)["files"]}
    found = {own.relative_to(folder).as_posix() for own in folder.rglob("*") if own.is_file()}
    if others := sorted(found - known):
        raise DataError(f"{path} must hold what its records name, got {folder.name}/{others[0]}; nothing was imported")


@contextmanager
def _free(folder: Path) -> Iterator[None]:
    with if_free(folder) as free:
        if not free:
            raise ConfigError(f"{folder.name} is being built in {folder.parent}; import when that is done")
        yield


def _is_there(folder: Path, draft: Path) -> bool:
    """Return whether the store has a folder, equal to `draft`; a damaged one is set aside.

    Raises:
        ConfigError: it has another one of that name.
    """
    if not folder.exists() and not folder.is_symlink():
        return False
    if not folder.is_symlink() and sealed(folder):
        try:
            if _files(verified(folder)) == _files(draft):
                return True
        except Damaged:
            set_aside(folder)
            return False
        what = "holds other files (the same settings, built elsewhere, differ in their last digits)"
    else:
        what = "is not complete"
    raise ConfigError(f"{folder} {what}; nothing was imported: import into another store with store=FOLDER, or move it")


def _files(folder: Path) -> dict[str, str]:
    return dict(json.loads((folder / RECORD).read_text(encoding="utf-8"))["files"])
