"""The command `clinlm check input=FILE`."""

import shlex
import textwrap
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, final

import polars as pl

from clinlm.config.class_paths import class_path
from clinlm.config.errors import ConfigError, DataError
from clinlm.config.overrides import parameters
from clinlm.config.remedies import typed_override
from clinlm.config.settings import compose, plain
from clinlm.config.targets import instantiate
from clinlm.config.validation import CONF
from clinlm.corpora.base import Corpus, Records
from clinlm.corpora.column_roles import Roles, guess_roles
from clinlm.corpora.recognition import Recognized, recognize_folder, recognize_lines, recognize_table
from clinlm.files.columns import is_header, require_columns, require_header, showable
from clinlm.files.peek import peek_table
from clinlm.predict.observations import Observation, column_observations, corpus_observations, shown_name
from clinlm.predict.settings import literal_settings

CHECK_YAML = CONF / "check.yaml"
_ROWS = 5_000
"""Rows by which the roles of columns are guessed; everything else is counted over all rows."""

_WIDTH, _MARGIN = 80, 11
_CUTTING = (".Head", ".HeadTail")
"""Ways to read long notes in one row."""

_NAMED = 12
"""Most columns that get a line of their own."""


@final
@dataclass(frozen=True)
class CheckSettings:
    """Settings of `clinlm check`; see `conf/check.yaml`."""

    input: Path
    text: str | None
    labels: str | list[str] | None
    group: str | None
    id: str | None

    @classmethod
    def of(cls, arguments: Sequence[str]) -> Self:
        """Return the settings of a command line.

        Raises:
            ConfigError: a key is unknown, or the input is missing.
        """
        values = literal_settings(CHECK_YAML, arguments)
        if values["input"] == "???":
            raise ConfigError("missing required setting: input; add input=VALUE to the command (--help lists all)")
        labels = values["labels"]
        names = [name.strip() for name in labels.split(",")] if isinstance(labels, str) else []
        return cls(
            **{**values, "input": Path(values["input"]).expanduser(), "labels": names if len(names) > 1 else labels}
        )


def check_command(arguments: list[str]) -> None:
    """Run `clinlm check`."""
    for line in check_input(CheckSettings.of(arguments)):
        print(line, flush=True)


def check_input(settings: CheckSettings) -> Iterator[str]:
    """Yield the lines that say what a file or folder is.

    Raises:
        ClinlmError: it cannot be read; what could be told has been yielded before.
    """
    path = settings.input
    known = recognize_folder(path) if path.is_dir() else recognize_lines(path)
    given = [name for name in _given(settings) if name]
    peek = None if known is not None else peek_table(path, _ROWS, given)
    if peek is not None:
        (require_columns if peek.named else require_header)(path, peek.frame.columns, given)
        if not (peek.named or given or _has_header(peek.frame)):
            raise DataError(
                f"a table must begin with the names of its columns, got {path.name}, whose first line does not look "
                "like names (is it a record?); add a line of names, or text=COLUMN to the command if they are names"
            )
        known = recognize_table(peek.frame.columns)
    if known is not None:
        yield from _told([Observation(path.name, known.what)])
        yield from _recognized(known, path)
        return
    assert peek is not None
    frame = peek.frame
    roles = guess_roles(frame, settings.text, settings.labels, settings.id, settings.group)
    first = f"; columns are judged by the first {frame.height:,} rows" if frame.height == _ROWS else ""
    yield from _told([Observation(path.name, f"{peek.form}; {len(frame.columns)} columns{first}")])
    found = list(column_observations(roles, frame.height))
    lines, odd = [each for each in found if each.about != "odd"], [each for each in found if each.about == "odd"]
    left = [Observation("…", f"{len(lines) - _NAMED} more columns")] if len(lines) > _NAMED else []
    yield from _columns([*lines[:_NAMED], *left])
    if roles.text is None:
        yield from _told(odd)
        raise ConfigError(
            f"a table of notes must have a column of text, got {', '.join(map(shown_name, frame.columns[:_NAMED]))}; "
            "set text to it"
        )
    command = table_command(path, roles, peek.encoding)
    if command is None:
        yield from _told([*odd, Observation("labels", "none found; set labels=COLUMN if there are any")])
        yield from _typed(["predict", "artifact=FOLDER", f"input={path}", f"text={roles.text}", "output=answers.csv"])
        return
    records = yield from _records(command)
    if isinstance(roles.labels, str) and (records.frame["labels"].list.len() == 1).all():
        yield from _told([Observation("classes", "every note has exactly one label: task=table_multiclass")])
        command[0] = "task=table_multiclass"
    yield from _told(odd)
    yield from _typed(command)


def _has_header(frame: pl.DataFrame) -> bool:
    """Return whether the names of columns look like such, one at least by its shape, and none is among its cells.

    `Smith,headache` may be either, and is printed only if the command names a column. A record's label, sex or ward
    comes again. (A line of all names again is that of a file joined to another.)
    """
    names = frame.columns
    same = {name: pl.col(name).eq_missing(pl.lit(name)) for name in names}
    words = [own for name, own in same.items() if name.upper() != name.lower()]  # 0 and 1 may name flags
    again = frame.filter(pl.any_horizontal(words) & ~pl.all_horizontal(same.values())).height if words else 0
    return is_header(names) and bool(showable(names)) and not again


def table_command(path: Path, roles: Roles, encoding: str | None = None) -> list[str] | None:
    """Return the words of the command that trains on a table, as they are typed; None without labels and spans."""
    chosen: dict[str, Any] = {}
    if roles.text != "text":
        chosen["text"] = roles.text
    if roles.spans is not None:
        words = ["task=entities", "corpus@task.corpus=span_table"]
        chosen |= {} if roles.spans == "spans" else {"spans": roles.spans}
    elif roles.labels is not None:
        chosen |= {} if roles.labels == "labels" else {"labels": roles.labels}
        words = ["task=table"]
        chosen |= {} if roles.delimiter in (None, ";") else {"delimiter": roles.delimiter}
        flags = () if isinstance(roles.labels, str) else roles.labels
        chosen |= {"uncertain": "negative"} if any(roles.named(name).unsure for name in flags) else {}
        chosen |= {} if roles.split is None else {"split": roles.split}
    else:
        return None
    chosen |= {name: own for name, own in (("id", roles.id), ("group", roles.group)) if own is not None}
    chosen |= {} if encoding is None else {"encoding": encoding}
    return _words(words, path, chosen)


def _words(words: Sequence[str], path: Path, chosen: Mapping[str, Any]) -> list[str]:
    settings = [typed_override(f"task.corpus.{name}", value) for name, value in chosen.items()]
    return [*words, typed_override("task.root", str(path)), *settings, "pipeline=a"]


def _given(settings: CheckSettings) -> list[str | None]:
    labels = settings.labels if isinstance(settings.labels, list) else [settings.labels or ""]
    return [settings.text, settings.group, settings.id, *labels]


def _recognized(known: Recognized, path: Path) -> Iterator[str]:
    task = [f"task={known.task}", *([f"corpus@task.corpus={known.corpus}"] if known.corpus else [])]
    command = _words(task, path, known.settings)
    if known.large:
        _open(command)[0].check()
        yield from _told([Observation("tasks", ", ".join(f"task={name}" for name in (known.task, *known.others)))])
    else:
        yield from _records(command)
    yield from _typed(command)


def _open(command: Sequence[str]) -> tuple[Corpus, int, bool]:
    """Return the corpus of a command, the longest row of its models in tokens, and whether they read several rows.

    Torch is not imported.
    """
    task = plain(compose("config", [shlex.split(word)[0] for word in command]).task)
    corpus: Corpus = instantiate(task["corpus"], root=task["root"])()
    return corpus, int(task["max_tokens"]), not str(task["long_notes"]["_target_"]).endswith(_CUTTING)


def _records(command: Sequence[str]) -> Generator[str, None, Records]:
    corpus, max_tokens, whole = _open(command)
    mergeable = "near_duplicates" in parameters(class_path(type(corpus)))
    records = corpus.records()
    yield from _told(corpus_observations(records, max_tokens, whole, mergeable))
    return records


def _columns(findings: Sequence[Observation]) -> Iterator[str]:
    """Yield a line per column, names in a column of their own as wide as the longest."""
    width = min(30, max((len(finding.about) for finding in findings), default=0))
    for finding in findings:
        yield (
            textwrap.shorten(f"  {finding.about[:width]:<{width}}", _WIDTH)
            if not finding.facts
            else (f"  {finding.about[:width]:<{width}}  {finding.facts}"[:_WIDTH])
        )


def _told(findings: Iterable[Observation]) -> Iterator[str]:
    for about, facts in findings:
        name = f"{about:<{_MARGIN - 1}} "
        yield from textwrap.wrap(
            facts, _WIDTH, initial_indent=name, subsequent_indent=" " * _MARGIN, break_on_hyphens=False
        ) or [name]


def _typed(words: Sequence[str]) -> Iterator[str]:
    """Yield a command in lines that fit, with backslashes, so that it can be pasted into a shell."""
    line = "clinlm"
    yield ""
    for word in words:
        if len(line) + len(word) + 3 > _WIDTH:
            yield f"{line} \\"
            line = "   "
        line += f" {word}"
    yield line
