"""The processor that latencies are measured on."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self, final

INSTRUCTIONS: Final[Mapping[str, str]] = {
    "avx2": "AVX2",
    "avx512f": "AVX512",
    "avx_vnni": "AVX-VNNI",
    "avx512_vnni": "AVX512-VNNI",
    "avx512_bf16": "AVX512-BF16",
    "amx_int8": "AMX-INT8",
    "amx_bf16": "AMX-BF16",
    "asimddp": "ASIMD-DP",
    "i8mm": "I8MM",
    "bf16": "BF16",
    "sve": "SVE",
}
"""Instruction sets that decide how fast a network computes: flag of /proc/cpuinfo -> name."""


@final
@dataclass(frozen=True)
class Hardware:
    """What latencies were measured on, and when.

    Attributes:
        processor: its name as the system tells it; virtual machines may hide the model.
        instructions: those of `INSTRUCTIONS` that it has.
        cores: that the process may use.
        threads: that a network computes with.
        date: of the measurement, YYYY-MM-DD (UTC).
    """

    processor: str
    instructions: tuple[str, ...]
    cores: int
    threads: int
    date: str

    @classmethod
    def of_this_process(cls) -> Self:
        """Return what this process would measure on, now."""
        import torch  # here, because most of the package needs none of it

        return cls(*own_processor(), torch.get_num_threads(), datetime.now(UTC).date().isoformat())

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' * (self.threads != 1)}"
        processor = _described(self.processor, self.instructions)
        return f"{processor}, {threads} on {self.cores} core{'s' * (self.cores != 1)}"


def processor_here() -> str:
    """Return the processor of this machine: its name, and the `INSTRUCTIONS` that it has."""
    name, instructions, _ = own_processor()
    return _described(name, instructions)


def _described(name: str, instructions: Sequence[str]) -> str:
    return f"{name} ({', '.join(instructions)})" if instructions else name


def own_processor() -> tuple[str, tuple[str, ...], int]:
    """Return the name of the processor, its instruction sets, and how many cores this process may use."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines() if cpuinfo.is_file() else []
    name, instructions = parse_cpuinfo(lines)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return name or platform.processor() or platform.machine(), instructions, cores


def parse_cpuinfo(lines: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Return the name of the processor ("" if unknown) and its instruction sets, from the lines of /proc/cpuinfo."""
    found: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        found.setdefault(name.strip().casefold(), value.strip())
    flags = set(found.get("flags", found.get("features", "")).split())
    return found.get("model name", ""), tuple(name for flag, name in INSTRUCTIONS.items() if flag in flags)
