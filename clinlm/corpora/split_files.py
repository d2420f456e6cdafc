"""Which files of a corpus train, validate and test, where the user says so."""

from collections.abc import Mapping
from pathlib import Path

from clinlm.corpora.split import SPLITS


def split_files(root: Path, files: Mapping[str, str] | None) -> list[tuple[Path, str | None]]:
    """The files, or folders, to read, each with its split.

    Args:
        root: the file itself, of no split; or the folder that `files` are in.
        files: split (of `clinlm.corpora.split.SPLITS`) to the name of its file in `root`; None where root is all there
            is.

    Raises:
        FileNotFoundError: something is missing.
        ValueError: `files` names no split, or one that there is not, or one file for two.
    """
    if files is None:
        if not root.exists():
            raise FileNotFoundError(f"a corpus reads files; there are none at {root}; set task.root to where they lie")
        return [(root, None)]
    if not files or set(files) - set(SPLITS):
        raise ValueError(f"files name splits, of {', '.join(SPLITS)}; {', '.join(files) or 'none'} came; set these")
    if len({*files.values()}) < len(files):
        raise ValueError(f"a file is of one split; {', '.join(files.values())} names one twice; set one for each")
    for split, name in files.items():
        if not (root / name).exists():
            raise FileNotFoundError(f"the split {split} is {name}; {root} has none; set task.root, or files.{split}")
    return [(root / files[split], split) for split in SPLITS if split in files]
