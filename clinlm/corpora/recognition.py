"""Recognises what a file or folder of notes is by its names and first lines, and the task that reads it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Final, final

from clinlm.config.errors import DataError, MissingFileError
from clinlm.corpora.fhir.resources import resource_files
from clinlm.corpora.mimic.mimic4 import table4_there
from clinlm.corpora.split import SPLITS
from clinlm.files.plain_text import read_lines
from clinlm.files.sources import is_table

_LINES: Final = 400
_PUBTATOR = re.compile(r"[^|\t]+\|t\|")
_TAG = re.compile(r"[BIESLUM][-_:–].+|.+[-_][BIESLUM]|[BIO]", re.IGNORECASE)
_MTSAMPLES: Final = {"sample_id", "medical_specialty", "transcription"}
_SPLIT_STEMS: Final = {
    "train": "train",
    "training": "train",
    "dev": "validation",
    "devel": "validation",
    "development": "validation",
    "valid": "validation",
    "val": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
_MIMIC: Final = {
    "mimic3_diagnoses": ("NOTEEVENTS", "DIAGNOSES_ICD", "ADMISSIONS", "PATIENTS"),
    "mortality": ("NOTEEVENTS", "ADMISSIONS"),
    "length_of_stay": ("NOTEEVENTS", "ADMISSIONS"),
    "diagnoses_3digit": ("NOTEEVENTS", "ADMISSIONS", "DIAGNOSES_ICD"),
    "procedures_3digit": ("NOTEEVENTS", "ADMISSIONS", "PROCEDURES_ICD"),
}
"""Task -> the tables of MIMIC-III that it reads."""

_MIMIC4: Final = {
    "mortality": ("discharge", "admissions", "patients"),
    "length_of_stay": ("discharge", "admissions", "patients"),
    "diagnoses_3digit": ("discharge", "admissions", "patients", "diagnoses_icd"),
    "procedures_3digit": ("discharge", "admissions", "patients", "procedures_icd"),
}
"""Task -> the tables of MIMIC-IV that it reads."""


@final
@dataclass(frozen=True)
class Recognized:
    """What some files are.

    Attributes:
        what: in words.
        task: of `conf/task`.
        corpus: of `conf/corpus`, for `corpus@task.corpus=`; "" for that of the task.
        settings: of `task.corpus`.
        others: further tasks that read the same files.
        large: whether reading all of it takes minutes.
    """

    what: str
    task: str
    corpus: str = ""
    settings: Mapping[str, str | Sequence[str] | Mapping[str, str] | None] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    large: bool = False


def recognize_folder(folder: Path) -> Recognized:
    """Return what a folder is.

    Raises:
        DataError: no corpus is read from such a folder.
    """
    tables = {path.name.upper().removesuffix(".GZ").removesuffix(".CSV") for path in folder.iterdir() if path.is_file()}
    tasks = [task for task, needed in _MIMIC.items() if tables >= {*needed}]
    if tasks:
        there = {table for task in tasks for table in _MIMIC[task]}
        return Recognized(f"MIMIC-III: {', '.join(sorted(there))}", tasks[0], others=tuple(tasks[1:]), large=True)
    fourth = {table for table in set(chain.from_iterable(_MIMIC4.values())) if table4_there(folder, table)}
    tasks = [task for task, needed in _MIMIC4.items() if fourth >= {*needed}]
    if tasks:
        what = f"MIMIC-IV: {', '.join(sorted(fourth))}"
        return Recognized(what, tasks[0], "mimic4_outcomes", others=tuple(tasks[1:]), large=True)
    found = _recognize_system(folder)
    if found is not None:
        return found
    halves = {path.with_suffix(path.suffix.lower()) for path in folder.rglob("*") if path.is_file()}
    marked = {path.with_suffix(".txt") for path in halves if path.suffix == ".ann"}
    if marked:
        alone = sorted(path.name for path in halves - marked if path.suffix == ".txt" and path.name[0] != ".")
        few = 0 < len(alone) <= len(marked) / 10
        left = f"; without annotations and left out: {', '.join(alone)}" if few else ""
        what = f"brat: {len(marked):,} pairs of .txt and .ann{left}"
        return Recognized(what, "entities", "brat", {"ignore": alone} if few else {})
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    kinds = {path: recognize_lines(path) for path in files if _plain(path)}
    for corpus in ("conll", "pubtator"):
        own = [path for path, kind in kinds.items() if kind is not None and kind.corpus == corpus]
        splits = {_split_of(path): path.name for path in own}
        if own and set(splits) <= {*SPLITS} and len(splits) == len(own):
            named = {split: splits[split] for split in SPLITS if split in splits}
            return Recognized(f"{corpus}: {', '.join(named.values())}", "entities", corpus, {"files": named})
    names = ", ".join(path.name for path in files[:5]) + (f" and {len(files) - 5:,} more" if len(files) > 5 else "")
    raise DataError(
        "a folder must be of brat (.txt and .ann), i2b2 (.con), MIMIC, OMOP or FHIR, or have a CoNLL or PubTator file "
        f"per split (train, dev, test), got {folder} with {names or 'no file'}; set input to one of its files"
    )


def _recognize_system(folder: Path) -> Recognized | None:
    """Return the record system, or challenge, that a folder is an export of; None for anything else."""
    names = {path.name.lower().partition(".")[0] for path in folder.iterdir()}
    if names >= {"note", "condition_occurrence"}:
        return Recognized("OMOP CDM: note, condition_occurrence", "conditions", "omop")
    if resource_files(folder, "DocumentReference") and resource_files(folder, "Condition"):
        return Recognized("FHIR: DocumentReference, Condition", "conditions", "fhir")
    concepts = sum(path.suffix.lower() == ".con" for path in folder.rglob("*"))
    if concepts:
        return Recognized(f"i2b2/VA 2010: {concepts:,} files of concepts (.con)", "entities", "i2b2_concepts")
    return None


def recognize_lines(path: Path) -> Recognized | None:
    """Return what a file of lines is, by its first ones: CoNLL or PubTator; None for anything else.

    Raises:
        MissingFileError: the file does not exist.
    """
    if not path.is_file():
        raise MissingFileError(f"input must be a file or folder, got {path}, which does not exist; set input to one")
    try:
        lines = [line for line in islice(read_lines(path), _LINES) if line.strip()]
    except DataError:
        return None
    if lines and _PUBTATOR.match(lines[0]):
        return Recognized("PubTator: titles, abstracts and their entities", "entities", "pubtator")
    tokens = [
        line.split("\t") if "\t" in line else line.split() for line in lines if not line.startswith(("-DOC", "#"))
    ]
    pairs = [cells for cells in tokens if len(cells) in range(2, 11)]
    tags = [cells[-1].strip() for cells in pairs]
    tagged = sum(tag == "O" or _TAG.fullmatch(tag) is not None for tag in tags)
    if len(pairs) > 0.9 * len(tokens) and tagged > 0.9 * len(pairs) and "O" in tags and len(pairs) > 1:
        return Recognized("CoNLL: a token and its tag per line", "entities", "conll")
    return None


def recognize_table(names: Sequence[str]) -> Recognized | None:
    """Return the published corpus that a table with these columns is; None for a table of one's own."""
    if {*names} >= _MTSAMPLES:
        return Recognized("MTSamples: notes and their specialties", "mtsamples")
    return None


def _plain(path: Path) -> bool:
    return path.suffix != ".parquet" and (not is_table(path) or path.suffix in (".tsv", ".txt"))


def _split_of(path: Path) -> str:
    words = re.split(r"[^a-z]+", path.name.lower())
    return next((_SPLIT_STEMS[word] for word in words if word in _SPLIT_STEMS), path.name)
