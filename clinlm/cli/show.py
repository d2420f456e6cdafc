"""The command `clinlm show KEY`: lineage, numbers and files of an artifact, from its JSON; no model is opened."""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

_HELP = """clinlm show: one artifact of the store. No model is opened.

  clinlm show KEY                     a key (877df5776db9), its beginning, or a folder's name
  clinlm show KEY store=FOLDER        in another store than outputs/store

Without KEY it lists what is in the store.
"""
_STORE = Path("outputs/store")
_QUALITY = ("micro_f1", "macro_f1", "macro_auroc", "accuracy", "f1")
"""Metrics that are shown, as far as a report has them."""


@final
@dataclass(frozen=True)
class StoredFolder:
    """A folder of the store, and what its JSON files say; empty where there is none.

    Attributes:
        record: written last, when the folder was complete.
        report: what building it came to.
    """

    folder: Path
    record: dict[str, Any]
    report: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> "StoredFolder":
        """Read a folder."""
        from clinlm.config.errors import ClinlmError
        from clinlm.store.content import checked_record, recorded_json, sealed

        with suppress(ClinlmError):  # of a damaged folder nothing is shown, see `_summary`
            record = checked_record(folder) if sealed(folder) else {}
            has_report = "report.json" in record.get("files", ())
            return cls(folder, record, recorded_json(folder, "report.json") if has_report else {})
        return cls(folder, {}, {})

    @property
    def parents(self) -> list[str]:
        """Keys of what it starts from and learns from."""
        parents = self.record.get("parents") or {}
        keys = [parents.get("start"), *parents.get("teachers", ())]
        return [str(key) for key in dict.fromkeys(keys) if key]


def show_command(arguments: Sequence[str]) -> None:
    """Print one artifact, or the names of all.

    Raises:
        ConfigError: no folder, or several, have that key.
    """
    if {"-h", "--help"} & {*arguments}:
        print(_HELP, end="")
        return
    stores = [Path(word.partition("=")[2]) for word in arguments if word.startswith("store=")]
    wanted = [word for word in arguments if not word.startswith("store=")]
    store = stores[0] if stores else _STORE
    if not wanted:
        print("\n".join(_all(store)))
        return
    print("\n".join(_shown(StoredFolder.read(find_folder(wanted[0], store)))))


def find_folder(key: str, store: Path) -> Path:
    """Return the folder of the store that a key, its beginning, a folder's name or a path means.

    Raises:
        ConfigError: there is none, or there are several.
    """
    if Path(key).is_dir():
        return Path(key)
    folders = _folders(store)
    found = [folder for folder in folders if folder.name == key] or [
        folder for folder in folders if folder.name.rpartition("-")[2].startswith(key) or folder.name.startswith(key)
    ]
    if len(found) == 1:
        return found[0]
    from clinlm.config.errors import ConfigError

    if found:
        raise ConfigError(
            f"KEY must mean one folder, got {key!r}: {', '.join(own.name for own in found)}; type more of it"
        )
    raise ConfigError(
        f"KEY must be of a folder in {store}, got {key!r}; clinlm show lists them, store=FOLDER chooses another"
    )


def _folders(store: Path) -> list[Path]:
    return sorted(path for path in store.glob("*-*") if path.is_dir() and ".damaged-" not in path.name)


def _all(store: Path) -> Iterator[str]:
    folders = _folders(store)
    column = max((len(folder.name) for folder in folders), default=0) + 2
    for folder in folders:
        yield f"{folder.name:{column}}{_summary(StoredFolder.read(folder))}".rstrip()
    if not folders:
        yield f"nothing is stored in {store}; run a pipeline, or set store=FOLDER"


def _summary(own: StoredFolder) -> str:
    if not own.record:
        if (own.folder / "record.json").is_file():
            return "damaged; clinlm store verify says what of it"
        return "unfinished; the command that began it continues it"
    report = own.report
    role = [report["role"]] if report.get("role") else []
    parts = [*role, *_count(report, "parameters", "parameters"), *_bytes(report.get("bytes"))]
    return ", ".join(parts)


def _shown(own: StoredFolder) -> Iterator[str]:
    yield f"{own.folder.name}  {_summary(own)}".rstrip()
    yield f"folder     {own.folder}"
    runs = list(_runs(own.folder))
    if runs:
        yield f"made by    {shlex.join(['clinlm', *runs[0][1].get('overrides', ())])}"
        yield f"           {runs[0][0]}{f', and {len(runs) - 1} more' if len(runs) > 1 else ''}"
    yield from _headed("lineage", _lineage(own, set()))
    yield from _headed("methods", _methods(own))
    yield from _headed("numbers", _numbers(own))
    yield from _headed("quality", _quality(own.folder, [place for place, _ in runs]))
    yield from _headed("files", _files(own.folder))


def _headed(heading: str, lines: Iterator[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield f"{heading if number == 0 else '':11}{line}"


def _lineage(own: StoredFolder, seen: set[str], depth: int = 0, how: str = "") -> Iterator[str]:
    """Yield the artifact and, indented, what it starts from and learns from, each once."""
    report = own.report
    seconds = f", {report['seconds']:,.0f} s of training" if report.get("seconds") else ""
    yield f"{'  ' * depth}{how}{own.folder.name}{seconds}"
    start = (own.record.get("parents") or {}).get("start")
    for key in own.parents:
        verb = "starts from " if key == start else "learns from "
        found = next((folder for folder in _folders(own.folder.parent) if folder.name.endswith(f"-{key}")), None)
        if found is None:
            yield f"{'  ' * (depth + 1)}{verb}{key}, which is no longer in the store"
        elif key in seen:
            yield f"{'  ' * (depth + 1)}{verb}{found.name}, as above"
        else:
            seen.add(key)
            yield from _lineage(StoredFolder.read(found), seen, depth + 1, verb)


def _methods(own: StoredFolder) -> Iterator[str]:
    for name, method in (own.report.get("methods") or {}).items():
        if method.get("summary"):
            yield f"{name}: {method['summary']}"


def _numbers(own: StoredFolder) -> Iterator[str]:
    report = own.report
    size = [
        *_count(report, "parameters", "parameters"),
        *_count(report, "nonzero", "nonzero"),
        *_bytes(report.get("bytes")),
    ]
    yield from [", ".join(size)] if size else []
    if report.get("epochs") is not None:
        best = [
            f"best {row['monitor']} {row['value']:.4f} in epoch {row['epoch'] + 1}"
            for method in (report.get("methods") or {}).values()
            for table in method.get("tables", ())
            for row in table.get("rows", ())
            if {"epoch", "monitor", "value"} <= {*row}
        ]
        count = report["epochs"]
        yield ", ".join([f"{count} epoch{'s' * (count != 1)}, {report.get('steps', 0):,} steps", *best])
    if report.get("peak_mib"):
        where = [str(report[name]) for name in ("device", "precision") if report.get(name)]
        yield f"{report['peak_mib']:,.0f} MiB to load and read a row; trained on {', '.join(where)}"


def _runs(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the runs beside the store that have the folder among their stages, the newest first."""
    places = folder.parent.absolute().parent
    roots = {places, places / "outputs", Path("outputs").absolute()}
    found = {
        path.parent for root in roots for kind in ("runs/*", "sweeps/*/*") for path in root.glob(f"{kind}/run.json")
    }
    for run in sorted(found, key=lambda own: ((own / "run.json").stat().st_mtime, str(own)), reverse=True):
        written = [run / name for name in ("run.json", "table.json") if (run / name).is_file()]
        if any(folder.name in path.read_text(encoding="utf-8") for path in written):
            yield run, _run_file(run / "run.json")


def _quality(folder: Path, runs: Sequence[Path]) -> Iterator[str]:
    """Yield the quality of the artifact from the first report that has it, with intervals and the latency."""
    for run in runs:
        for row in _run_file(run / "table.json").get("rows", ()):
            if row.get("key") not in (folder.name, folder.name.rpartition("-")[2]):
                continue
            for metric in [name for name in _QUALITY if name in row.get("quality", {})]:
                interval = (row.get("intervals") or {}).get(metric)
                between = f" ({interval['low']:.3f} to {interval['high']:.3f})" if interval else ""
                yield f"{metric} {row['quality'][metric]:.4f}{between}"
            latency = row.get("latency")
            if latency:
                yield f"p50 {latency['p50_ms']:.2f} ms a note"
            for gate in row.get("gates") or ():
                passed = not gate["refused"] and all(finding["passed"] for finding in gate["findings"])
                yield f"gate {gate['gate']}: {'passed' if passed else 'not passed'}"
            return


def _files(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            yield f"{path.relative_to(folder).as_posix():32} {''.join(_bytes(path.stat().st_size)):>10}"


def _count(report: dict[str, Any], name: str, unit: str) -> list[str]:
    value = report.get(name)
    if not isinstance(value, int):
        return []
    return [f"{value / 1e6:,.1f} M {unit}" if value >= 100_000 else f"{value:,} {unit}"]


def _bytes(value: Any) -> list[str]:
    return [byte_size(value)] if isinstance(value, int) else []


def byte_size(count: int) -> str:
    """Return a number of bytes in kB, MB or GB."""
    unit, size = next(((unit, size) for unit, size in (("GB", 1e9), ("MB", 1e6)) if count >= size), ("kB", 1e3))
    return f"{count / size:,.1f} {unit}"


def _run_file(path: Path) -> dict[str, Any]:
    """Return a file of a run; nothing of one that is missing or damaged, which other runs may make up for."""
    from clinlm.config.errors import DataError
    from clinlm.pipeline.run_record import read_run_file

    try:
        return read_run_file(path)
    except (OSError, DataError):
        return {}
