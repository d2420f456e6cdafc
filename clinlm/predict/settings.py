"""The settings of `clinlm-predict`: read from its arguments, each held to its law."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self, final

from omegaconf import OmegaConf

from clinlm.config.validation import CONF, nearest
from clinlm.files.sources import STANDARD
from clinlm.predict.formats import OUTPUTS

YAML = CONF / "predict.yaml"
_PATHS = ("artifact", "input", "output", "rejects", "shadow")
_COUNTS = ("threads", "window", "batch_tokens")


@final
@dataclass(frozen=True)
class Settings:
    """See `conf/predict.yaml`, which has a sentence on each and its default.

    Raises:
        ValueError: one breaks its law.
    """

    artifact: Path
    input: Path
    output: Path
    text: str
    id: str | None
    rejects: Path
    shadow: Path | None
    threads: int
    window: int
    batch_tokens: int

    def __post_init__(self) -> None:
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1; got {getattr(self, name)}")
        if self.output != STANDARD and self.output.suffix not in OUTPUTS:
            raise ValueError(
                f"the ending of output says what to write: {', '.join(OUTPUTS)}, or - for standard output; got "
                f"{self.output.name}; set output to such a name"
            )
        written = [self.rejects, *([] if self.output == STANDARD else [self.output])]
        read = [] if self.input == STANDARD else [self.input]
        places = [path.resolve() for path in (*written, *read)]
        if len(set(places)) < len(places):
            raise ValueError("input, output and rejects are different files; two of them are one; set another output")

    @classmethod
    def of(cls, arguments: Sequence[str]) -> Self:
        """Return the settings of a command line of KEY=VALUE, the rest as in `conf/predict.yaml`.

        Raises:
            ValueError: a key is none, one without default is missing, or a value breaks its law.
        """
        values: dict[str, Any] = dict(OmegaConf.to_container(OmegaConf.load(YAML)))  # type: ignore[arg-type]
        for argument in arguments:
            key, equals, value = argument.partition("=")
            if not equals:
                raise ValueError(f"an argument is KEY=VALUE; got {argument!r}{nearest(key, values)}")
            if key not in values:
                raise ValueError(f"every setting is read by something; nothing reads {key!r}{nearest(key, values)}")
            values[key] = None if value in ("", "null") else value
        missing = [key for key, value in values.items() if value == "???"]
        if missing:
            raise ValueError(
                f"a setting without a default has to be given; {', '.join(missing)} was not; add "
                f"{missing[0]}=VALUE to the command (clinlm-predict --help lists them)"
            )
        return cls(**_typed(values))

    @property
    def resumable(self) -> bool:
        """Whether a run that was stopped can go on: neither standard input nor output can be read again."""
        return STANDARD not in (self.input, self.output)

    def beside(self, ending: str) -> Path:
        """Return the path of the output with another ending after its own."""
        return self.output.with_name(f"{self.output.name}{ending}")


def _typed(values: dict[str, Any]) -> dict[str, Any]:
    for name in ("artifact", "input", "output", "text", "window", "batch_tokens"):
        if values[name] is None:
            raise ValueError(f"{name} has a value; got null; set {name}=VALUE")
    if values["rejects"] is None:
        if values["output"] == str(STANDARD):
            raise ValueError(
                "what cannot be read is written to a file; output=- gives no name for one; add rejects=FILE.jsonl"
            )
        values["rejects"] = f"{values['output']}.rejects.jsonl"
    if values["threads"] is None:
        values["threads"] = cores()
    for name in _COUNTS:
        try:
            values[name] = int(values[name])
        except ValueError:
            raise ValueError(f"{name} is a whole number; got {values[name]!r}") from None
    paths = {name: Path(values[name]).expanduser() for name in _PATHS if values[name] is not None}
    assert set(values) == {one.name for one in fields(Settings)}, "the yaml names every setting"
    return {**values, **paths}


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
