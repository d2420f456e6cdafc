"""The command `clinlm store ls|verify|gc|export|import`: what is stored, whether it is whole, and what nobody needs."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from clinlm.cli.show import byte_size, find_folder
from clinlm.config.chatter import quiet_loggers
from clinlm.config.errors import ConfigError, MissingFileError, ModelError
from clinlm.config.near_names import did_you_mean
from clinlm.config.store_url import STAGING, check_url, is_url
from clinlm.report.command import refuse_others
from clinlm.store.archive import read_archive, write_archive
from clinlm.store.content import RECORD, sealed, verified
from clinlm.store.inventory import FOLDER, Inventory, StoreEntry
from clinlm.store.locks import writable
from clinlm.store.removal import remove_entries, unneeded

if TYPE_CHECKING:
    from clinlm.store.url_mirror import MirroredFolder, UrlMirror

_HELP = """clinlm store: what a store holds, and what of it nobody needs. No model is opened.

  clinlm store ls                              folders: kind, size, date, made from, used by which runs and sweeps
  clinlm store verify                          every file against its record; exit status 1 where one is damaged
  clinlm store gc                              what can be removed, and how large it is; nothing is removed
  clinlm store gc confirm=true                 remove it
  clinlm store export KEY... output=FILE.tar   folders, and all that they were made from, as one file
  clinlm store import FILE.tar                 put them into a store, after every file was compared with its record

gc keeps what a run needs, directly or as a parent; what a process builds or uses now; what was used in the last
days=1, and its parents; and answers of labelers (labels-KEY). A run counts as long as its folder exists: those that the
store knows, and those in runs=FOLDER,FOLDER (default: outputs, and the folder that the store is in). Name in runs=
where runs lie that were moved.

export leaves out notes, and models whose terms may be of a single patient (TF-IDF): notes=true adds them. What was
learnt from notes whose data use agreement forbids passing that on is refused, unless restricted=true says that whoever
gets the file is under the same agreement. import replaces nothing.

Settings of all: store=FOLDER (outputs/store). Of store=s3://BUCKET/PREFIX, with staging=FOLDER (outputs/store): ls says
what lies there and what is here, too; verify reads all of it; gc removes what uploads left that were stopped.
"""
SETTINGS: Final[dict[str, tuple[str, ...]]] = {
    "ls": ("store", "staging", "runs"),
    "verify": ("store", "staging"),
    "gc": ("store", "staging", "runs", "days", "confirm"),
    "export": ("store", "output", "notes", "restricted"),
    "import": ("store",),
}
"""What can be done, and its settings."""
_SIZE: Final = 2
"""Column of the list that is aligned on the right."""


def store_command(arguments: Sequence[str]) -> None:
    """Run `clinlm store`, or print its help.

    Raises:
        ConfigError: words or settings that it does not know, or that cannot work.
        ModelError: `verify` found damage.
    """
    if not arguments or {"-h", "--help"} & {*arguments}:
        print(_HELP, end="")
        return
    action, *words = arguments
    if action not in SETTINGS:
        known = ", ".join(SETTINGS)
        raise ConfigError(
            f"clinlm store must be followed by one of {known}, got {action!r}{did_you_mean(action, SETTINGS)}"
        )
    settings = dict(word.split("=", 1) for word in words if "=" in word)
    refuse_others(settings, SETTINGS[action])
    names = [word for word in words if "=" not in word]
    if (action in ("export", "import")) != bool(names):
        wants = "KEYs" if action == "export" else "one FILE" if action == "import" else "settings only, KEY=VALUE"
        raise ConfigError(f"clinlm store {action} needs {wants}, got {', '.join(names) or 'none'}")
    store, staging = settings.pop("store", STAGING), settings.pop("staging", None)
    if is_url(store):
        check_url(store, staging)
        for line in _of_url(action, store, Path(staging or STAGING), settings):
            print(line, flush=True)
        return
    if staging is not None:
        raise ConfigError(f"staging must be set with a store that is a URL, got store={store}; leave it out")
    root = Path(store)
    if action != "import" and not root.is_dir():
        raise MissingFileError(f"store must be a folder, got {root}; run a pipeline, or set store=FOLDER")
    for line in _ACTIONS[action](root, names, settings):
        print(line, flush=True)


def _listed(root: Path, names: Sequence[str], settings: Mapping[str, str]) -> Iterator[str]:
    inventory = Inventory.read(root, _places(root, settings))
    needed, known = inventory.needed(), inventory.entries
    order = sorted(known.values(), key=lambda entry: (entry.path.name not in needed, entry.made))
    rows = [("folder", "kind", "size", "made", "from", "used by")]
    for entry in order:
        name = entry.path.name
        children = [child for child in inventory.children(name) if child in needed]
        users = [_shown(run, root) for run in inventory.users(name)] or children or ["" if name in needed else "unused"]
        made = datetime.fromtimestamp(entry.made).strftime("%Y-%m-%d %H:%M")
        rows.append((name, entry.kind, byte_size(entry.bytes), made, _some(inventory.parents(name)), _some(users)))
    yield from _table(rows)
    unused = [entry for entry in order if entry.path.name not in needed]
    used = [entry for entry in order if entry.path.name in needed]
    yield f"used by {_counted_runs(inventory)}: {_total(used)}; unused: {_total(unused)}"


def _verified(root: Path, names: Sequence[str], settings: Mapping[str, str]) -> Iterator[str]:
    inventory = Inventory.read(root, ())
    folders = [own.parent for own in sorted(root.glob(f"*/{RECORD}")) if FOLDER.fullmatch(own.parent.name)]
    damaged = incomplete = 0
    for number, folder in enumerate(folders, 1):
        entry, found = inventory.entries.get(folder.name), "whole"
        try:
            verified(folder)
        except ModelError as damage:
            found, damaged = f"DAMAGED: {damage}", damaged + 1
        if entry is not None and (absent := inventory.absent(folder.name)):
            found, incomplete = f"{found}; made from {', '.join(absent)}, which the store does not have", incomplete + 1
        yield f"{number} of {len(folders)}  {folder.name}  {byte_size(entry.bytes if entry else 0)}  {found}"
    if damaged:
        raise ModelError(
            f"every file must be as it was recorded, got {damaged} of {len(folders)} folders in {root} damaged; run "
            "their pipelines again, which builds them again"
        )
    yield f"{len(folders)} folders are as they were made, {incomplete} of them without all that they were made from"


def _collected(root: Path, names: Sequence[str], settings: Mapping[str, str]) -> Iterator[str]:
    days, confirm = _number(settings.get("days", "1")), _flag(settings, "confirm")
    inventory = Inventory.read(root, _places(root, settings))
    if not inventory.runs and settings.get("runs") != "none":
        raise ConfigError(
            f"runs must be folders in which runs lie, got none there ({', '.join(map(str, _places(root, settings)))}); "
            "set runs=FOLDER, or runs=none, and everything in the store is unused"
        )
    if not writable(root):  # nor could it be told what is in use
        raise ConfigError(f"store must be a folder that you may write, got {root}; clinlm store ls says what is unused")
    if inventory.gone:
        yield (
            f"runs without a folder: {len(inventory.gone):,} (deleted, moved, or on a disk that is not mounted); "
            "runs=FOLDER,FOLDER names where runs lie that were moved"
        )
    removed = []
    for entry, free in remove_entries(inventory, unneeded(inventory, days), confirm):
        if free:
            removed.append(entry)
        what = "in use, kept" if not free else "removed" if confirm else "would be removed"
        yield f"{what:18}{entry.path.name}  {entry.kind}, {byte_size(entry.bytes)}"
    for path in inventory.gone if confirm else ():
        path.unlink(missing_ok=True)
    if confirm and removed:
        from clinlm.pipeline.protocol import close_protocols  # here: it imports OmegaConf

        close_protocols(root)
    kept = [entry for entry in inventory.entries.values() if entry not in removed]
    yield f"kept: {_total(kept)}, for {_counted_runs(inventory)}, or used in the last {days:g} days"
    done, hint = ("removed", "") if confirm else ("can be removed", "; confirm=true removes them" * bool(removed))
    yield f"{done}: {_total(removed)}{hint}"


def _exported(root: Path, names: Sequence[str], settings: Mapping[str, str]) -> Iterator[str]:
    if not settings.get("output"):
        raise ConfigError("missing required setting: output, a file that is not there yet")
    inventory = Inventory.read(root, ())
    wanted = [find_folder(name, root).name for name in names]
    if unknown := [name for name in wanted if name not in inventory.entries]:
        raise ConfigError(f"KEYs must be of folders in {root}, got {unknown[0]}; clinlm store ls lists them")
    order = [inventory.entries[name] for name in inventory.lineage(wanted)]
    left = [own for own in order if inventory.holds_text(own.path.name)] * (not _flag(settings, "notes"))
    if refused := [own.path.name for own in left if own.path.name in wanted]:
        raise ConfigError(
            f"what is exported must hold no notes and no terms of single patients, got {', '.join(refused)}; "
            "notes=true exports them, for a place where these notes may be"
        )
    kept = [own for own in order if own not in left]
    _check_agreements(inventory, kept, _flag(settings, "restricted"))
    output = Path(settings["output"])
    size = write_archive([own.path for own in kept], output)
    yield from (f"exported  {own.path.name}  {own.kind}, {byte_size(own.bytes)}" for own in kept)
    why = "notes, or terms of single patients (notes=true adds them)"
    yield from (f"left out  {own.path.name}  {own.kind}: {why}" for own in left)
    yield f"written   {output}, {byte_size(size)}; clinlm store import {output} reads it"


def _imported(root: Path, names: Sequence[str], settings: Mapping[str, str]) -> Iterator[str]:
    if len(names) != 1:
        raise ConfigError(f"clinlm store import needs one FILE, got {', '.join(names)}")
    for name, new in read_archive(Path(names[0]), root):
        yield f"{'imported' if new else 'is there':10}{root / name}"


def _of_url(action: str, url: str, root: Path, settings: Mapping[str, str]) -> Iterator[str]:
    """Do what can be done with what lies at a URL.

    Args:
        root: its store on this machine.
    """
    if action in ("export", "import") or "runs" in settings:
        raise ConfigError(
            f"clinlm store {action} of a URL must be ls, verify or gc, without runs, got {url}; set store={root}, its "
            "folder on this machine"
        )
    from clinlm.store.url_mirror import UrlMirror  # here: fsspec, and the library of the protocol

    quiet_loggers()
    mirror = UrlMirror(url, root, "none")
    folders = mirror.folders()
    if action == "ls":
        rows = [("folder", "state", "size", "written", "here")]
        for own in folders:
            written = max((date for date in own.files.values() if date is not None), default=None)
            date = "" if written is None else datetime.fromtimestamp(written).strftime("%Y-%m-%d %H:%M")
            here = "whole" if sealed(root / own.name) else ""
            rows.append((own.name, "whole" if own.whole else "unfinished", byte_size(own.bytes), date, here))
        yield from _table(rows)
        yield f"{url}: {len(folders):,} folders ({byte_size(sum(own.bytes for own in folders))}); here is {root}"
    elif action == "verify":
        yield from _verified_at_url(mirror, [own.name for own in folders if own.whole])
    else:
        yield from _collected_at_url(mirror, folders, _number(settings.get("days", "1")), _flag(settings, "confirm"))


def _verified_at_url(mirror: "UrlMirror", names: Sequence[str]) -> Iterator[str]:
    damaged = 0
    for number, name in enumerate(names, 1):
        found = "whole"
        try:
            mirror.check(name)
        except ModelError as damage:
            found, damaged = f"DAMAGED: {damage}", damaged + 1
        yield f"{number} of {len(names)}  {name}  {found}"
    if damaged:
        raise ModelError(
            f"every file must be as it was recorded, got {damaged} of {len(names)} folders at {mirror.url} damaged; "
            f"remove them there ({mirror.url}/NAME, whole): the next run that has or builds them writes them again"
        )
    yield f"{len(names)} folders are as they were made"


def _collected_at_url(
    mirror: "UrlMirror", folders: Sequence["MirroredFolder"], days: float, confirm: bool
) -> Iterator[str]:
    """Remove what no record names; nobody knows what the runs of other machines need."""
    old, removed = time.time() - days * 86_400, 0
    for folder in folders:
        try:
            dates = {name: folder.files[name] for name in mirror.unnamed(folder)}
            files = [name for name, date in dates.items() if date is not None and date < old]
            if files and confirm:
                files = mirror.remove(folder, files)
        except ModelError as damage:
            yield f"{'kept':18}{folder.name}: {damage}"
            continue
        removed += len(files)
        what = "removed" if confirm else "would be removed"
        if files:
            yield f"{what:18}{folder.name}: {len(files)} files of uploads that were stopped or replaced"
    done, hint = ("removed", "") if confirm else ("can be removed", "; confirm=true removes them" * bool(removed))
    yield f"whole folders stay, since runs of other machines may need them; {done}: {removed} files{hint}"


def _check_agreements(inventory: Inventory, order: Sequence[StoreEntry], restricted: bool) -> None:
    """Check that what is exported may be passed on.

    Raises:
        ConfigError: its notes are under an agreement that forbids it, or it is not known which notes they are.
    """
    from clinlm.tasks.base import NOT_RELEASED  # here: it imports polars

    for entry in () if restricted else order:
        made_from = [inventory.entries[name] for name in inventory.lineage([entry.path.name])]
        texts = [(own.path / "examples.json").read_text(encoding="utf-8") for own in made_from if own.kind == "task"]
        free = all(own.record.get("released", True) for own in made_from)  # of new texts of other notes
        if texts and free and not any(NOT_RELEASED in json.loads(text)["notices"] for text in texts):
            continue
        why = NOT_RELEASED if texts else "its task is not in the store, so that nobody knows what its notes allow"
        raise ConfigError(
            f"what is exported must be free to be passed on, got {entry.path.name}: {why}; restricted=true exports it, "
            "for somebody who is under the same agreement"
        )


def _places(root: Path, settings: Mapping[str, str]) -> list[Path]:
    """Return the folders in which runs lie.

    Raises:
        MissingFileError: one that was named is not there.
    """
    if (typed := settings.get("runs")) is not None:
        named = [Path(word) for word in typed.strip("[]").split(",")] if typed != "none" else []
        if absent := [place for place in named if not place.is_dir()]:
            raise MissingFileError(f"runs must be folders, got {absent[0]}, which is not there")
        return named
    around = root.resolve().parent
    return [Path("outputs"), *([around] if around != around.parent else [])]


def _number(typed: str) -> float:
    try:
        days = float(typed)
    except ValueError:
        days = -1.0
    if not 0 <= days < float("inf"):
        raise ConfigError(f"days must be a number >= 0, got {typed!r}")
    return days


def _flag(settings: Mapping[str, str], name: str) -> bool:
    typed = settings.get(name, "false").lower()
    if typed not in ("true", "false"):
        raise ConfigError(f"{name} must be true or false, got {typed!r}")
    return typed == "true"


def _shown(run: Path, root: Path) -> str:
    """Return the folder of a run as it is typed from here; of one that lies elsewhere beside the store, from there."""
    near = [place for place in (Path.cwd(), root.resolve().parent) if run.is_relative_to(place)]
    return run.relative_to(near[0]).as_posix() if near else str(run)


def _some(names: Sequence[str]) -> str:
    """Return the first two of several names."""
    more = f" and {len(names) - 2:,} more" if len(names) > 2 else ""
    return f"{', '.join(names[:2])}{more}"


def _counted_runs(inventory: Inventory) -> str:
    count = len(inventory.runs)
    return f"{count:,} runs and sweeps" if count != 1 else "one run"


def _total(entries: Sequence[StoreEntry]) -> str:
    size = sum(entry.bytes for entry in entries)
    return f"{len(entries):,} folder{'s' * (len(entries) != 1)} ({byte_size(size)})"


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        padded[_SIZE] = row[_SIZE].rjust(widths[_SIZE])
        yield "  ".join(padded).rstrip()


_ACTIONS: Final[Mapping[str, Callable[[Path, Sequence[str], Mapping[str, str]], Iterator[str]]]] = {
    "ls": _listed,
    "verify": _verified,
    "gc": _collected,
    "export": _exported,
    "import": _imported,
}
