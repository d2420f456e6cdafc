"""The kinds of parts that the sections of the page are made of; the template has one macro for each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

from clinlm.report.html.lines import LineChart
from clinlm.report.html.models_table import Cell


@final
@dataclass(frozen=True)
class Prose:
    """A paragraph."""

    text: str
    kind: Literal["prose"] = "prose"


@final
@dataclass(frozen=True)
class Listing:
    """A list of sentences, folded where `folded`."""

    title: str
    items: Sequence[str]
    folded: bool = False
    kind: Literal["listing"] = "listing"


@final
@dataclass(frozen=True)
class Grid:
    """A table.

    Attributes:
        rows: cells; the first of a row is its heading.
        numbers: columns that are aligned to the right.
        folded: whether only its title is seen until it is opened.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    numbers: frozenset[int] = frozenset()
    folded: bool = False
    kind: Literal["grid"] = "grid"


@final
@dataclass(frozen=True)
class Charts:
    """Plots side by side."""

    charts: Sequence[LineChart]
    note: str = ""
    kind: Literal["charts"] = "charts"


@final
@dataclass(frozen=True)
class Link:
    """A stage in a chain: what it cost and what it gained.

    Attributes:
        teachers: stages whose logits it learned from.
        gain: change of quality against the stage before, "" for the first.
        tone: "good" or "bad" where `gain` has a sign.
    """

    name: str
    techniques: str
    quality: str
    gain: str
    tone: str
    costs: Sequence[str]
    teachers: str


@final
@dataclass(frozen=True)
class Chain:
    """The stages of a pipeline in order."""

    title: str
    links: Sequence[Link]
    note: str = ""
    kind: Literal["chain"] = "chain"


@final
@dataclass(frozen=True)
class Commands:
    """Commands, each below what it makes."""

    items: Sequence[tuple[str, str]]
    folded: bool = False
    title: str = ""
    kind: Literal["commands"] = "commands"


Part = Prose | Listing | Grid | Charts | Chain | Commands


@final
@dataclass(frozen=True)
class Section:
    """A section of the page; `short` is its name in the navigation."""

    key: str
    short: str
    title: str
    parts: Sequence[Part]
