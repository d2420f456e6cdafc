"""The settings of `clinlm-label`: a labeler, perhaps a corpus, and where notes come from and answers go."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self, final

import hydra
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from clinlm.config import runtime
from clinlm.config.validation import CONF, nearest
from clinlm.files.sources import STANDARD

YAML = CONF / "label.yaml"
_GROUPS = ("labeler", "corpus")
_PATHS = ("input", "root", "output", "rejects", "store")
_FLAGS = {"true": True, "false": False}


@final
@dataclass(frozen=True)
class Settings:
    """See `conf/label.yaml`, which has a sentence on each and its default.

    Attributes:
        labeler, corpus: resolved, to be instantiated; no corpus where `input` is read.

    Raises:
        ValueError: one breaks its law.
    """

    labeler: Mapping[str, Any]
    corpus: Mapping[str, Any] | None
    input: Path | None
    root: Path | None
    output: Path
    text: str
    id: str | None
    rejects: Path
    store: Path
    again: bool
    span_texts: bool
    window: int

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"window is at least 1; got {self.window}")
        if (self.input is None) == (self.corpus is None):
            came = "neither came" if self.input is None else "both came"
            raise ValueError(
                f"notes come from a file or from a corpus; {came}; set input=FILE, or corpus=NAME root=PLACE"
            )
        if self.corpus is None and self.root is not None:
            raise ValueError("root is where a corpus lies; there is none; add corpus=NAME, or leave root out")
        if self.output != STANDARD and self.output.suffix != ".jsonl":
            raise ValueError(
                f"answers are .jsonl, or - for standard output; got {self.output.name}; set output to such"
            )
        written = [self.rejects, *([] if self.output == STANDARD else [self.output])]
        read = [] if self.input in (None, STANDARD) else [self.input]
        places = [path.resolve() for path in (*written, *read) if path is not None]
        if len(set(places)) < len(places):
            raise ValueError("input, output and rejects are different files; two of them are one; set another output")

    @classmethod
    def of(cls, arguments: Sequence[str]) -> Self:
        """Return the settings of a command line: KEY=VALUE, and Hydra's overrides of `labeler` and `corpus`.

        Raises:
            ValueError: a key is none, one without default is missing, or a value breaks its law.
            HydraException, OmegaConfBaseException: the labeler or the corpus cannot be composed.
        """
        loaded = OmegaConf.to_container(OmegaConf.load(YAML))
        assert isinstance(loaded, dict)
        values: dict[str, Any] = {str(key): value for key, value in loaded.items() if key != "defaults"}
        overrides = []
        for argument in arguments:
            key, equals, value = argument.partition("=")
            if equals and key in values:
                values[key] = None if value in ("", "null") else value
            elif _is_override(argument):
                overrides.append(argument)
            else:
                known = (*values, *_GROUPS)
                raise ValueError(f"every setting is read by something; nothing reads {key!r}{nearest(key, known)}")
        config = _composed(overrides)
        return cls(**_typed(values), labeler=_plain(config.labeler) or {}, corpus=_plain(config.get("corpus")))

    @property
    def resumable(self) -> bool:
        """Whether a run that was stopped can go on: neither standard input nor output can be read again."""
        return STANDARD not in (self.input, self.output)

    def beside(self, ending: str) -> Path:
        """Return the path of the output with another ending after its own."""
        return self.output.with_name(f"{self.output.name}{ending}")


def _is_override(argument: str) -> bool:
    return bool(re.match(rf"[+~]*({'|'.join(_GROUPS)})([.@=]|$)", argument))


def _composed(overrides: Sequence[str]) -> DictConfig:
    runtime.register()
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose("label", list(overrides))


def _plain(node: DictConfig | None) -> dict[str, Any] | None:
    if node is None:
        return None
    plain = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _typed(values: dict[str, Any]) -> dict[str, Any]:
    if values["output"] == "???":
        raise ValueError("a setting without a default has to be given; output was not; add output=FILE.jsonl")
    for name in ("output", "text", "store", "window", "again", "span_texts"):
        if values[name] is None:
            raise ValueError(f"{name} has a value; got null; set {name}=VALUE")
    if values["rejects"] is None:
        if values["output"] == str(STANDARD):
            raise ValueError(
                "what cannot be read is written to a file; output=- gives no name for one; add rejects=FILE.jsonl"
            )
        values["rejects"] = f"{values['output']}.rejects.jsonl"
    try:
        values["window"] = int(values["window"])
    except ValueError:
        raise ValueError(f"window is a whole number; got {values['window']!r}") from None
    for name in ("again", "span_texts"):
        if str(values[name]).lower() not in _FLAGS:
            raise ValueError(f"{name} is true or false; got {values[name]!r}")
        values[name] = _FLAGS[str(values[name]).lower()]
    paths = {name: Path(values[name]).expanduser() for name in _PATHS if values[name] is not None}
    assert {*values, *_GROUPS} == {one.name for one in fields(Settings)}, "the yaml names every setting"
    return {**values, **paths}
