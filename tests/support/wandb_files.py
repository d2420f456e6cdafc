"""Reads the files of offline runs of wandb back, whose newer versions ship no reader."""

import json
import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2


def records(path: Path) -> Iterator[Any]:
    """Read a run file: a header of 7 bytes, then LevelDB's log format in blocks of 32 KiB."""
    content, at, parts = path.read_bytes(), 7, b""
    assert content[:4] == b":W&B"
    while at + 7 <= len(content):
        room = 32768 - at % 32768
        if room < 7:
            at += room
            continue
        _, size, kind = struct.unpack_from("<IHB", content, at)
        parts += content[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield wandb_internal_pb2.Record.FromString(parts)  # type: ignore[attr-defined]
            parts = b""


@dataclass
class Logged:
    """One run as wandb would send it."""

    run: Any
    config: dict[str, Any]
    summary: dict[str, Any]
    curves: dict[str, list[Any]]
    uses: set[str]
    makes: set[str]
    tags: list[str]


def read(path: Path) -> Logged:
    logged = Logged(None, {}, {}, defaultdict(list), set(), set(), [])
    for record in records(path):
        if record.HasField("run"):
            logged.run = logged.run or record.run
            logged.tags = [*record.run.tags]
            logged.config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        for item in record.config.update:
            logged.config[item.key] = json.loads(item.value_json)
        for item in record.summary.update:
            logged.summary["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
        artifact = record.request.log_artifact.artifact if record.HasField("request") else record.artifact
        if artifact.name and artifact.type != "run_table":
            (logged.uses if artifact.use_after_commit else logged.makes).add(artifact.name)
        for item in record.history.item:
            logged.curves["/".join(item.nested_key) or item.key].append(json.loads(item.value_json))
    return logged
