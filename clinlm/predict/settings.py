"""Settings of `clinlm predict` and `clinlm label`: read from KEY=VALUE arguments and checked."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any, Self, final, get_args, get_type_hints

import yaml

from clinlm.config.errors import ConfigError
from clinlm.config.near_names import did_you_mean
from clinlm.config.store_url import is_url
from clinlm.config.validation import CONF
from clinlm.files.shards import is_several
from clinlm.files.sources import STANDARD
from clinlm.metrics.conformal import COVERAGES
from clinlm.predict.tool_rows import TOOLS

PREDICT_YAML = CONF / "predict.yaml"
LABEL_YAML = CONF / "label.yaml"
OUTPUTS = (".jsonl", ".csv", ".parquet")
ENGINES = ("ray", "spark")
_GROUPS = ("labeler", "corpus")
_FLAGS = {"true": True, "false": False}


@dataclass(frozen=True)
class StreamSettings:
    """Settings of any stream of notes; their yaml has a sentence on each and its default.

    Raises:
        ConfigError: a value is out of its range.
    """

    input: Path | None
    output: Path
    text: str
    id: str | None
    encoding: str | None
    rejects: Path
    window: int

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if type(value) is int and value < 1:
                raise ConfigError(f"{name} must be >= 1, got {value}")
        if self.id == self.text:
            raise ConfigError(
                f"id must be another column than text, got {self.id!r} for both; set another: ids are written beside "
                "answers"
            )
        written = [self.rejects, *([] if self.output == STANDARD else [self.output])]
        read = [] if self.input in (None, STANDARD) else [self.input]
        paths = [path.resolve() for path in (*written, *read) if path is not None]
        if len(set(paths)) < len(paths):
            raise ConfigError("input, output and rejects must be different files; set another output")

    @property
    def per_file(self) -> bool:
        """Return whether every file of the input gets a file of answers, in the folder `output`."""
        return self.input is not None and is_several(self.input)

    def check_output(self, endings: Sequence[str]) -> None:
        """Raise ConfigError unless `output` is a file with one of some endings, a folder or standard output."""
        if self.per_file:
            wrong = self.output.is_file() or (self.output.suffix and not self.output.is_dir())
            if STANDARD in (self.input, self.output) or wrong:
                raise ConfigError(
                    f"input must be files and output a folder where every file gets answers of its own (input is a "
                    f"folder or pattern, or on is set), got input={self.input} output={self.output}; set output=FOLDER"
                )
        elif self.output != STANDARD and self.output.suffix not in endings:
            raise ConfigError(
                f"output must end in {', '.join(endings)}, or be - for standard output; got {self.output.name}"
            )

    def alone(self, shard: Path, output: Path, rejects: Path, threads: int) -> Self:
        """Return the settings that answer one file of the input."""
        return replace(self, input=shard, output=output, rejects=rejects)

    def answers_name(self, shard: Path) -> str:
        """Return the name of the answers to a file of the input."""
        own = shard.name.lower()
        ending = Path(own.removesuffix(".gz")).suffix
        stem = shard.name[: len(own.removesuffix(".gz")) - len(ending)]
        return shard.with_name(f"{stem}{self.answers_ending(ending)}").as_posix()

    def answers_ending(self, ending: str) -> str:
        """Return the ending of the answers to a file with an ending, in lower case."""
        return ".jsonl"

    @property
    def resumable(self) -> bool:
        """Return whether a stopped run can continue: neither standard input nor output can be read again."""
        return STANDARD not in (self.input, self.output)

    def beside(self, ending: str) -> Path:
        """Return the path of the output with another ending after its own."""
        return self.output.with_name(f"{self.output.name}{ending}")

    @classmethod
    def convert(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return values as the types of their fields. `rejects` gets its default.

        Raises:
            ConfigError: a required value is missing, or one has another type.
        """
        missing = [name for name, value in values.items() if value == "???"]
        if missing:
            raise ConfigError(
                f"missing required setting: {', '.join(missing)}; add {missing[0]}=VALUE to the command (--help lists "
                "all settings)"
            )
        values = dict(values)
        if values["rejects"] is None and values["output"] is not None:
            if values["output"] == str(STANDARD):
                raise ConfigError("rejects need a file where output=-; add rejects=FILE.jsonl")
            several = values.get("on") or (values["input"] and is_several(Path(values["input"]).expanduser()))
            values["rejects"] = (
                str(Path(values["output"], "_rejects")) if several else f"{values['output']}.rejects.jsonl"
            )
        types = get_type_hints(cls)
        return {name: converted(name, value, types[name]) for name, value in values.items()}


def converted(name: str, value: Any, hint: Any) -> Any:
    """Return a value of a command line, or of a yaml, as the type of its setting.

    Raises:
        ConfigError: it cannot be.
    """
    options = get_args(hint) or (hint,)
    if value is None:
        if NoneType in options:
            return None
        raise ConfigError(f"{name} must have a value, got null; set {name}=VALUE")
    if options[0] is Path:
        return Path(value).expanduser()
    if options[0] is int:
        try:
            return int(value)
        except ValueError:
            raise ConfigError(f"{name} must be a whole number, got {value!r}") from None
    if options[0] is float:
        try:
            return float(value)
        except ValueError:
            raise ConfigError(f"{name} must be a number, got {value!r}") from None
    if options[0] is bool:
        if str(value).lower() not in _FLAGS:
            raise ConfigError(f"{name} must be true or false, got {value!r}")
        return _FLAGS[str(value).lower()]
    return value


def check_coverage(coverage: float | None) -> None:
    """Raise ConfigError unless a coverage of sets is one for which models have thresholds, or None."""
    if coverage is not None and coverage not in COVERAGES:
        known = ", ".join(f"{own:g}" for own in COVERAGES)
        raise ConfigError(f"coverage must be one of {known}, or null for no sets, got {coverage:g}")


@final
@dataclass(frozen=True)
class PredictSettings(StreamSettings):
    """Settings of `clinlm predict`; see `conf/predict.yaml`."""

    input: Path
    artifact: Path
    shadow: Path | None
    coverage: float | None
    threads: int
    on: str | None
    address: str
    batch_tokens: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.on not in (None, *ENGINES):
            raise ConfigError(f"on must be one of {', '.join(ENGINES)}, or null for this machine, got {self.on!r}")
        self.check_output(OUTPUTS)
        if self.per_file and self.shadow is not None:
            raise ConfigError(
                "shadow compares two models on one file, got several files; set input to one of them, and remove on"
            )
        check_coverage(self.coverage)

    @property
    def per_file(self) -> bool:
        return self.on is not None or super().per_file

    def alone(self, shard: Path, output: Path, rejects: Path, threads: int) -> Self:
        return replace(self, input=shard, output=output, rejects=rejects, threads=threads, on=None)

    def answers_ending(self, ending: str) -> str:
        """See `StreamSettings.answers_ending`: that of the file, where answers have it, or of another table."""
        return ending if ending in OUTPUTS else ".csv" if ending in (".tsv", ".xlsx") else ".jsonl"

    @classmethod
    def of(cls, arguments: Sequence[str]) -> Self:
        """Return the settings of a command line of KEY=VALUE; the rest are the defaults of `conf/predict.yaml`.

        Raises:
            ConfigError: a key is unknown, a required one is missing, or a value is wrong.
        """
        values = literal_settings(PREDICT_YAML, arguments)
        if values["threads"] is None:
            values["threads"] = cores()
        return cls(**cls.convert(values))


@final
@dataclass(frozen=True)
class LabelSettings(StreamSettings):
    """Settings of `clinlm label`; see `conf/label.yaml`.

    Attributes:
        labeler, corpus: resolved, to be instantiated; no corpus where `input` is read.
    """

    labeler: Mapping[str, Any]
    corpus: Mapping[str, Any] | None
    root: Path | None
    store: Path
    again: bool
    span_texts: bool
    tool: str | None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tool not in (None, *TOOLS):
            raise ConfigError(f"tool must be one of {', '.join(TOOLS)}, or null, got {self.tool!r}; set one of them")
        if self.tool is not None and self.span_texts:
            raise ConfigError(
                "span_texts and tool must not both be set: span_texts adds to clinlm's own lines; set one of them"
            )
        if (self.input is None) == (self.corpus is None):
            got = "neither" if self.input is None else "both"
            raise ConfigError(
                f"notes must come from a file or from a corpus, got {got}; set input=FILE, or corpus=NAME root=PATH"
            )
        if self.corpus is None and self.root is not None:
            raise ConfigError("root needs a corpus, got none; add corpus=NAME, or remove root")
        self.check_output((".jsonl",))

    @classmethod
    def of(cls, arguments: Sequence[str]) -> Self:
        """Return the settings of a command line: KEY=VALUE, and Hydra's overrides of `labeler` and `corpus`.

        Raises:
            ConfigError: a key is unknown, a required one is missing, or a value is wrong.
            HydraException, OmegaConfBaseException: the labeler or the corpus cannot be composed.
        """
        values = _defaults(LABEL_YAML)
        overrides = []
        for argument in arguments:
            key, equals, value = argument.partition("=")
            if equals and key in values:
                values[key] = None if value in ("", "null") else value
            elif re.match(rf"[+~]*({'|'.join(_GROUPS)})([.@=]|$)", argument):
                overrides.append(argument)
            else:
                raise ConfigError(f"unknown setting {key!r}{did_you_mean(key, (*values, *_GROUPS))}")
        if is_url(values["store"]):
            raise ConfigError(
                f"store must be a folder, since answers of labelers stay on this machine, got {values['store']}; set "
                "store=FOLDER"
            )
        from clinlm.config.settings import compose, plain  # here, because Hydra takes as long as all else

        config = compose("label", overrides)
        corpus = None if config.get("corpus") is None else plain(config.corpus)
        return cls(**cls.convert(values), labeler=plain(config.labeler), corpus=corpus)


def _defaults(path: Path) -> dict[str, Any]:
    loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {str(key): value for key, value in loaded.items() if key != "defaults"}


def literal_settings(path: Path, arguments: Sequence[str]) -> dict[str, Any]:
    """Return the settings of a yaml, those of a command line of KEY=VALUE as they stand there.

    Raises:
        ConfigError: a key is unknown, or an argument is not KEY=VALUE.
    """
    values = _defaults(path)
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise ConfigError(f"arguments must be KEY=VALUE, got {argument!r}{did_you_mean(key, values)}")
        if key not in values:
            raise ConfigError(f"unknown setting {key!r}{did_you_mean(key, values)}")
        values[key] = None if value in ("", "null") else value
    return values


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
