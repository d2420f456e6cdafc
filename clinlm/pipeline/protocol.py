"""The protocol of a plan: its non-inferiority margin, written into the store before anything is trained.

A margin proves something only if it was fixed before results were known. The key of no stage depends on it.
"""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, final

from omegaconf import DictConfig

from clinlm.config.checks import check_margin
from clinlm.config.errors import DataError
from clinlm.config.ranges import check_choice
from clinlm.store.content import digested, fetch_complete, mirrored_file, read_digested, sealed, write_digested
from clinlm.store.locks import locked

log = logging.getLogger(__name__)
PROTOCOLS: Final = "protocols"
"""Folder in the store; a file a plan, named as the folder of its last stage."""
_KNOWN: Final = "known"
"""In a protocol: its stages may have been removed from the store, and their results known."""


@final
@dataclass(frozen=True)
class Protocol:
    """The margin of a run, and the one that was fixed first for the same last stage.

    Attributes:
        metric: of the non-inferiority test.
        margin: largest loss that is accepted, a share of 1.
        first_metric, first_margin: those in the store.
        fixed: date (UTC) on which those were written, YYYY-MM-DD.
        late: whether the last stage had been built before they were written.
        damaged: whether the file in the store is not the one that was written.
    """

    metric: str
    margin: float
    first_metric: str
    first_margin: float
    fixed: str
    late: bool = False
    damaged: bool = False

    @property
    def caveat(self) -> str:
        """What a reader of a verdict must know of its margin; "" for nothing."""
        if self.damaged:
            return "margin cannot be traced: its protocol in the store was changed or damaged"
        now, first = f"{100 * self.margin:g} points", f"{100 * self.first_margin:g}"
        known, since = "after results were known", f"(first fixed {self.fixed})"
        if self.metric != self.first_metric:
            return (
                f"margin changed from {first} points of {self.first_metric} to {now} of {self.metric} {known} {since}"
            )
        if self.margin != self.first_margin:
            return f"margin changed from {first} to {now} {known} {since}"
        return f"margin of {now} fixed {known} ({self.fixed})" if self.late else ""


def fix_protocol(config: DictConfig, folders: Sequence[Path], metrics: Sequence[str]) -> Protocol | None:
    """Return the protocol of a plan, and write it into the store unless one was written before.

    Until a stage after the first is complete, no result of the plan is known, and another margin replaces the first;
    but see `close_protocols`. Stages that the mirror of the store has complete are taken from there first: what is
    known on another host is known here.

    Args:
        config: the whole configuration, with `margin` and `margin_metric`.
        folders: of the stages, as `clinlm.pipeline.execution.planned_folders` returns them.
        metrics: that the task measures.

    Returns:
        None where the margin is null: no verdict is given.

    Raises:
        ConfigError: the margin is out of its range, or the task does not measure the metric.
    """
    fetch_complete(folders)
    if config.margin is None:
        return None
    check_margin(config.margin)
    check_choice("margin_metric", config.margin_metric, metrics)
    last = folders[-1]
    path = last.parent / PROTOCOLS / f"{last.name}.json"
    wanted = {"margin": float(config.margin), "metric": str(config.margin_metric)}
    with locked(path), mirrored_file(path, partial(_take, path)):
        found = _read(path) if path.is_file() else None
        if found is None or not (found.get(_KNOWN) or any(map(sealed, [last, *folders[1:]]))):
            found = {**wanted, "fixed": f"{datetime.now(UTC):%Y-%m-%d}", "late": sealed(last)}
            write_digested(path, found)
    own = Protocol(
        str(config.margin_metric),
        float(config.margin),
        first_metric=found["metric"],
        first_margin=found["margin"],
        fixed=found["fixed"],
        late=found["late"],
        damaged=found.get("damaged", False),
    )
    if own.caveat:
        log.warning("%s", own.caveat)
    return own


def close_protocols(root: Path) -> None:
    """Keep the margins of plans whose last stage is not in the store `root`, from which stages are removed now.

    Their results may have been known, so that another margin must not pass for the first.
    """
    for path in sorted((root / PROTOCOLS).glob("[!.]*.json")):
        if not sealed(root / path.stem):
            with locked(path), suppress(DataError):  # a damaged one says so itself
                write_digested(path, read_digested(path) | {_KNOWN: True})


def _take(path: Path, text: bytes) -> None:
    """Put the protocol of another host in place of this one's, unless it is damaged; what either knows, stays known."""
    try:
        content = digested(path, text)
    except DataError as damage:
        log.warning("of the mirror of the store: %s", damage)
        return
    known = path.is_file() and _read(path).get(_KNOWN)
    write_digested(path, content | ({_KNOWN: True} if known else {}))


def _read(path: Path) -> dict[str, Any]:
    """Return what a protocol holds; of one that is damaged, or of another plan, that it is."""
    try:
        return read_digested(path)
    except DataError as damage:
        log.warning("%s", damage)
    return {"metric": "", "margin": 0.0, "fixed": "", "late": True, "damaged": True}
