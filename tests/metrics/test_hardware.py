"""What latencies were measured on."""

import json
from dataclasses import asdict

import pytest

from clinlm.metrics.hardware import INSTRUCTIONS, Hardware, parse_cpuinfo

INTEL = [
    "processor\t: 0",
    "model name\t: Intel(R) Xeon(R)",
    "flags\t\t: fpu avx2 avx512f amx_int8",
    "model name\t: other",
]
ARM = ["processor\t: 0", "Features\t: fp asimd asimddp i8mm", ""]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (INTEL, ("Intel(R) Xeon(R)", ("AVX2", "AVX512", "AMX-INT8"))),
        (ARM, ("", ("ASIMD-DP", "I8MM"))),
        ([], ("", ())),
    ],
)
def test_name_and_instructions_are_read(lines: list[str], expected: tuple[str, tuple[str, ...]]) -> None:
    assert parse_cpuinfo(lines) == expected


def test_this_process_says_what_it_computes_on() -> None:
    own = Hardware.of_this_process()
    assert own.processor and own.cores >= 1 and own.threads >= 1 and len(own.date) == 10
    assert set(own.instructions) <= set(INSTRUCTIONS.values())
    assert json.loads(json.dumps(asdict(own)))["processor"] == own.processor


def test_it_is_told_in_one_line() -> None:
    own = Hardware("Xeon", ("AVX2", "AMX-INT8"), 4, 1, "2026-11-29")
    assert str(own) == "Xeon (AVX2, AMX-INT8), 1 thread on 4 cores"
    assert str(Hardware("m1", (), 1, 2, "2026-11-29")) == "m1, 2 threads on 1 core"
