"""What a callback reports: typed rows, one a place (a layer, a matrix, an epoch); `promises` has their types."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Self, TypeVar, final

if TYPE_CHECKING:
    from clinlm.models.model import Model


@dataclass(frozen=True)
class ReportRow:
    """One row of a callback's report. A subclass is a frozen dataclass of JSON values; its fields are the columns.

    A field with a default is left out of the JSON where it has that value.
    """

    @classmethod
    def summary(cls, report: "MethodReport") -> str:
        """Return what a report whose first row is of this class says in one line; "" for nothing."""
        return ""

    @classmethod
    def compare(cls, rows: Sequence[Self], model: "Model") -> tuple[Any, Any]:
        """Return what `rows` promise of the network, and what it has: equal where the promise is kept."""
        return None, None

    def to_json(self) -> dict[str, Any]:
        """Return the columns."""
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        return {name: value for name, value in vars(self).items() if value != defaults[name]}

    @classmethod
    def from_json(cls, columns: Mapping[str, Any]) -> Self:
        """Return what `to_json` wrote."""
        return cls(**columns)


Row = TypeVar("Row", bound=ReportRow)


@final
@dataclass(frozen=True)
class MethodReport:
    """What a callback did.

    Attributes:
        rows: in order; those of one type stand together.
        text: the summary, where it was read from a file; else it is made of the rows.
    """

    rows: tuple[ReportRow, ...] = ()
    text: str | None = None

    @property
    def summary(self) -> str:
        """What was done, in one line; "" for nothing."""
        if self.text is not None:
            return self.text
        return type(self.rows[0]).summary(self) if self.rows else ""

    def broken(self, model: "Model") -> str:
        """Return which promise the network breaks, and how; "" if it keeps them all."""
        for rows in _by_type(self.rows):
            kind = type(rows[0])
            promised, found = kind.compare(rows, model)
            if promised != found:
                return f"{kind.__name__} promised {promised}, got {found}"
        return ""

    def of(self, kind: type[Row]) -> list[Row]:
        """Return the rows of a type."""
        return [row for row in self.rows if isinstance(row, kind)]

    def to_json(self) -> dict[str, Any]:
        """Return the summary, and the rows of each type."""
        tables = [
            {"type": _type_name(type(rows[0])), "rows": [row.to_json() for row in rows]} for rows in _by_type(self.rows)
        ]
        return {"summary": self.summary, "tables": tables}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return what `to_json` wrote; rows of a type that is not imported become `UntypedRow`."""
        kinds = {_type_name(kind): kind for kind in ReportRow.__subclasses__()}
        tables = [(kinds.get(table["type"], UntypedRow), table["rows"]) for table in content["tables"]]
        rows = [kind.from_json(columns) for kind, own in tables for columns in own]
        return cls(tuple(rows), content["summary"])


@final
@dataclass(frozen=True)
class UntypedRow(ReportRow):
    """A row whose type is not imported where it is read."""

    columns: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        return dict(self.columns)

    @classmethod
    def from_json(cls, columns: Mapping[str, Any]) -> Self:
        return cls(columns)


def method_reports(report: Mapping[str, Any]) -> dict[str, MethodReport]:
    """Return the report of every callback of a stage, by its name, from the stage's `report.json`."""
    return {name: MethodReport.from_json(content) for name, content in report["methods"].items()}


def _by_type(rows: Sequence[ReportRow]) -> list[list[ReportRow]]:
    return [list(group) for _, group in groupby(rows, type)]


def _type_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
