"""What a report tells of entities: one row of a comparison, each number with its interval."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, Self, final

import polars as pl

from clinlm.metrics.bootstrap import Interval
from clinlm.metrics.latency import Latency
from clinlm.report.row import Row
from clinlm.store.content import write_json

SCORES: Final = ("micro_precision", "micro_recall", "micro_f1", "macro_f1", "relaxed_micro_f1")
"""What is told of all labels together; strict, but for what says relaxed."""


@final
@dataclass(frozen=True)
class EntityScores:
    """A row of a comparison, as it finds entities.

    Attributes:
        name, kind, role, engine, parameters, bytes, latency: of the row.
        of: the row of the artifact that it is a deployment of; "" where it is none.
        folder: of the deployment; "" where it is none.
        scores: one of SCORES -> its value and 95 % interval.
        strict, relaxed: label -> F1 and 95 % interval.
        support: label -> true entities.
        difference: strict micro F1, this minus the reference row, paired; None for the reference itself.
        drop: strict micro F1 on another corpus minus that on the own test documents; None where that is not told.
    """

    name: str
    kind: str
    role: str
    engine: str
    parameters: int
    bytes: int
    latency: Latency | None
    of: str
    folder: str
    scores: Mapping[str, Interval]
    strict: Mapping[str, Interval]
    relaxed: Mapping[str, Interval]
    support: Mapping[str, int]
    difference: Interval | None
    drop: Interval | None = None

    @classmethod
    def of_row(cls, row: Row, per_label: pl.DataFrame, drop: Interval | None = None) -> Self:
        """Return the scores of a row.

        Args:
            row: measured, with intervals.
            per_label: as `EntityEvaluation.label_intervals` makes it.
            drop: see the attribute.
        """
        scores = {one: Interval(row.quality[one], row.intervals[one].low, row.intervals[one].high) for one in SCORES}
        told = per_label.to_dicts()
        strict, relaxed = (
            {one["label"]: Interval(*(one[f"{prefix}f1{end}"] for end in ("", "_low", "_high"))) for one in told}
            for prefix in ("", "relaxed_")
        )
        return cls(
            name=row.name,
            kind=row.kind,
            role=row.role,
            engine=row.engine,
            parameters=row.parameters,
            bytes=row.bytes,
            latency=row.latency,
            of=row.deployment.get("of", ""),
            folder=row.deployment.get("folder", ""),
            scores=scores,
            strict=strict,
            relaxed=relaxed,
            support={one["label"]: one["support"] for one in told},
            difference=row.differences.get("micro_f1"),
            drop=drop,
        )

    @classmethod
    def of_json(cls, told: Mapping[str, Any]) -> Self:
        """Return what `write` wrote."""
        values = {each.name: told[each.name] for each in fields(cls)}
        for name in ("scores", "strict", "relaxed"):
            values[name] = {key: Interval(**_numbers(one)) for key, one in told[name].items()}
        values["scores"] = {name: values["scores"][name] for name in SCORES}  # a file sorts its keys
        for name, kind in (("latency", Latency), ("difference", Interval), ("drop", Interval)):
            values[name] = None if told[name] is None else kind(**_numbers(told[name], keep=("busy",)))
        return cls(**values)


def write(rows: Sequence[EntityScores], notices: Iterable[str], path: Path) -> None:
    """Write rows and notices as JSON; null stands for what is undefined."""
    write_json(path, {"rows": [_finite(asdict(one)) for one in rows], "notices": list(notices)})


def read(path: Path) -> tuple[list[EntityScores], list[str]]:
    """Return the rows and notices that `write` wrote."""
    told = json.loads(path.read_text(encoding="utf-8"))
    return [EntityScores.of_json(one) for one in told["rows"]], told["notices"]


def _numbers(told: Mapping[str, Any], keep: Sequence[str] = ()) -> dict[str, Any]:
    return {name: math.nan if value is None and name not in keep else value for name, value in told.items()}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
