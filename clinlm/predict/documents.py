"""The command `clinlm documents task=mortality task.root=FOLDER output=FOLDER`."""

import csv
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import polars as pl

from clinlm.config.errors import ConfigError
from clinlm.config.settings import compose, plain
from clinlm.config.targets import instantiate
from clinlm.corpora.mimic.mimic3_outcomes import Mimic3Outcomes
from clinlm.corpora.mimic.outcome_labels import STAYS, SURVIVAL
from clinlm.corpora.split import SPLITS
from clinlm.store.locks import only_process

if TYPE_CHECKING:
    from clinlm.tasks.labelled import Labelled


_FILES = dict(zip(SPLITS, ("train.csv", "val.csv", "test.csv"), strict=True))
_COLUMNS = {
    "mortality": "hospital_expire_flag",
    "length_of_stay": "los_label",
    "diagnoses_3digit": "short_codes",
    "procedures_3digit": "short_codes",
}
_CLASSES = {"mortality": SURVIVAL, "length_of_stay": STAYS}
_CODES = {"diagnoses_3digit": "ALL_3_DIGIT_DIA_CODES.txt", "procedures_3digit": "ALL_3_DIGIT_PRO_CODES.txt"}
_EVERYTHING = {"labels": None, "documents": None, "training_documents": None}


def documents_command(arguments: list[str]) -> None:
    """Run `clinlm documents`."""
    for line in write_documents(arguments):
        print(line)


def write_documents(arguments: Sequence[str]) -> list[str]:
    """Write the documents of a task into a new folder; see the help.

    Args:
        arguments: `output=FOLDER` and overrides of the configuration.

    Returns:
        lines to print: the notices of the corpus and what was written. No text of a note.

    Raises:
        ConfigError: the output is missing, or another process writes it, or the task is not an outcome task.
        FileExistsError: the output already exists.
    """
    outputs = [word.partition("=")[2] for word in arguments if word.startswith("output=")]
    if len(outputs) != 1 or not outputs[0]:
        raise ConfigError("documents need one new folder, got none or several; set output=FOLDER")
    folder = Path(outputs[0])
    if folder.exists():
        raise FileExistsError(f"nothing is overwritten, but {folder} already exists; set output to a new folder")
    task, corpus = _task([word for word in arguments if not word.startswith("output=")])
    records = corpus.records()
    examples = task.chosen(records)
    frame = examples.frame.select("id", "text", "split").join(records.frame.select("id", "labels"), on="id")
    codes = corpus.codes() if corpus.outcome in _CODES else None
    with _draft(folder) as draft:
        written = _write_files(draft, corpus.outcome, frame.sort(pl.col("id").cast(pl.Int64)), codes)
        draft.rename(folder)
    return [*examples.notices, *(f"{folder / name}: {what}" for name, what in written.items())]


@contextmanager
def _draft(folder: Path) -> Iterator[Path]:
    """Make a folder beside `folder` that becomes it; remove what is left of it, also that of a killed process."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with only_process(folder):
        draft = folder.with_name(f".{folder.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        try:
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _task(overrides: Sequence[str]) -> tuple["Labelled", Mimic3Outcomes]:
    from clinlm.tasks.labelled import Labelled  # here, because `--help` needs no torch

    task = instantiate({**plain(compose("config", overrides).task), **_EVERYTHING})
    if not isinstance(task, Labelled) or not isinstance(task.corpus, Mimic3Outcomes):
        raise ConfigError(f"task must be an outcome task, got another; set task={'|'.join(_COLUMNS)}")
    return task, task.corpus


def _write_files(folder: Path, outcome: str, frame: pl.DataFrame, codes: Sequence[str] | None) -> dict[str, str]:
    """Write all files of an outcome; return the number of documents or codes in each."""
    written = {}
    for split, name in _FILES.items():
        rows = frame.filter(pl.col("split") == split).select("id", "text", "labels")
        _write_rows(folder / name, outcome, rows.iter_rows())
        written[name] = f"{rows.height:,} documents"
    if codes is not None:
        with _private(folder / _CODES[outcome]) as file:
            file.write(" ".join(codes))
        written[_CODES[outcome]] = f"{len(codes):,} codes"
    return written


def _write_rows(path: Path, outcome: str, rows: Iterable[tuple[str, str, list[str]]]) -> None:
    with _private(path) as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(["id", "text", _COLUMNS[outcome]])
        classes = _CLASSES.get(outcome)
        for id, text, labels in rows:
            writer.writerow([id, text, classes.index(labels[0]) if classes else ",".join(labels)])


def _private(path: Path) -> TextIO:
    """Open a new file that only its owner can read."""
    return open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8", newline="")
