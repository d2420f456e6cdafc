"""Arrow files: what `datasets` (Hugging Face) saves to disk, and Feather; read with polars, without either library."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import polars as pl

from clinlm.config.errors import DataError, MissingFileError
from clinlm.files.columns import require_columns
from clinlm.files.parquet import typed_as_text
from clinlm.files.record import has_surrogate

DICTIONARY: Final = "dataset_dict.json"
"""Names the splits of a folder, each a folder of its own."""

_STATE, _INFO = "state.json", "dataset_info.json"
_NAME: Final = re.compile(r"(?!\.\.?$)[^/\\\x00-\x1f\ud800-\udfff]{1,60}")
"""Of a file or folder in the same folder: no path, and short enough in any alphabet."""
_FILE_MAGIC = b"ARROW1"
"""First bytes of Arrow's file format; its stream format, which `datasets` writes, has none."""


def saved_shards(folder: Path) -> list[Path] | None:
    """Return the files of a folder that `datasets` saved, of all its splits in their order; None for another folder.

    Raises:
        DataError: what the folder says of itself is broken, or the dataset has selected rows of its files.
        MissingFileError: a file, or a split, is missing.
    """
    if (folder / DICTIONARY).is_file():
        return _shards_of_splits(folder)
    if not (folder / _STATE).is_file():
        return None
    state = _json(folder / _STATE)
    listed = state.get("_data_files", [])
    names = (
        [one.get("filename") if isinstance(one, dict) else None for one in listed] if isinstance(listed, list) else None
    )
    found = [folder / name for name in _beside(names, folder / _STATE)]
    if state.get("_indices_data_files"):
        raise DataError(f"a saved dataset must be whole, {folder} has chosen rows; save it after flatten_indices()")
    missing = [path.name for path in found if not path.is_file()]
    if missing or not found:
        raise MissingFileError(
            f"a saved dataset must have its files, {folder} lacks {', '.join(missing) or 'any'}; copy it again"
        )
    return found


def _shards_of_splits(folder: Path) -> list[Path]:
    names = _beside(_json(folder / DICTIONARY).get("splits", []), folder / DICTIONARY)
    found = {name: saved_shards(folder / name) for name in names}
    missing = [name for name, own in found.items() if own is None]
    if missing or not found:
        raise MissingFileError(
            f"a saved dataset must have its splits, {folder} lacks {', '.join(missing) or 'any'}; copy it again"
        )
    return [shard for own in found.values() if own is not None for shard in own]


def _beside(names: Any, path: Path) -> list[str]:
    """Return names of files and folders beside a file that lists them.

    Raises:
        DataError: they are none.
    """
    if not isinstance(names, list) or not all(isinstance(name, str) and _NAME.fullmatch(name) for name in names):
        raise DataError(
            f"a saved dataset must list its files or splits by their names, {path} lists something else; save it again"
        )
    return names


def read_arrow(path: Path, columns: Sequence[str], lists: Sequence[str], nested: Sequence[str]) -> pl.DataFrame:
    """Read columns of an Arrow file as strings, numbers of ClassLabel by their names; see `sources.read_table`."""
    require_columns(path, arrow_columns(path), columns)
    with _parsing(path):
        frame = _read(path, list(columns))
    for column, names in _class_names(path.parent / _INFO).items():
        if column in frame.columns:
            frame = frame.with_columns(_named(frame[column], names, path))
    return typed_as_text(path, frame.select(columns), lists, nested)


def arrow_columns(path: Path) -> list[str]:
    """Return the columns of an Arrow file; errors as of `arrow_head`."""
    return arrow_head(path, 0).columns


def arrow_head(path: Path, rows: int) -> pl.DataFrame:
    """Return the first rows of an Arrow file, with all columns.

    Raises:
        MissingFileError: the file does not exist.
        DataError: it is not Arrow.
    """
    if not path.is_file():
        raise MissingFileError(f"the input must be a file, got {path}, which does not exist; set root to the file")
    with _parsing(path):
        return _read(path, None, rows)


def _read(path: Path, columns: list[str] | None, rows: int | None = None) -> pl.DataFrame:
    with path.open("rb") as file:
        is_file = file.read(len(_FILE_MAGIC)) == _FILE_MAGIC
    if is_file:
        return pl.read_ipc(path, columns=columns, n_rows=rows)
    return pl.read_ipc_stream(path, columns=columns, n_rows=rows)


def _class_names(path: Path) -> Mapping[str, Sequence[str]]:
    """Return the names of the classes of every column that has some, from what `datasets` says of a dataset."""
    features = _json(path).get("features") if path.is_file() else None
    found = {}
    for column, feature in features.items() if isinstance(features, dict) else ():
        inner = feature.get("feature", feature) if isinstance(feature, dict) else {}
        if isinstance(inner, dict) and inner.get("_type") == "ClassLabel":
            names = inner.get("names", [])
            if not isinstance(names, list) or not all(
                isinstance(name, str) and not has_surrogate(name) for name in names
            ):
                raise DataError(f"the names of classes must be a list of texts, {path} has another; save it again")
            found[column] = names
    return found


def _named(numbers: pl.Series, names: Sequence[str], path: Path) -> pl.Series:
    """Return a column with the names of its numbers, or lists of them; -1 is none."""
    lists = isinstance(numbers.dtype, pl.List)
    flat = numbers.explode() if lists else numbers
    if not flat.drop_nulls().is_in(range(-1, len(names))).all():
        raise DataError(
            f"numbers of classes must be below {len(names):,}, the column {numbers.name!r} of {path.name} has others; "
            "save the dataset again"
        )
    mapping = {-1: None} | dict(enumerate(names))
    one = pl.element() if lists else pl.col(numbers.name)
    named = one.replace_strict(mapping, default=None, return_dtype=pl.String)
    frame = numbers.to_frame()
    return frame.select(pl.col(numbers.name).list.eval(named.drop_nulls()) if lists else named)[numbers.name]


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise DataError(f"a saved dataset must say what it is, {path} is no JSON object; save it again")
    return found


@contextmanager
def _parsing(path: Path) -> Iterator[None]:
    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise DataError(
            f"an .arrow file must be Arrow, got {path}, which cannot be read ({type(error).__name__}); copy it again"
        ) from None
