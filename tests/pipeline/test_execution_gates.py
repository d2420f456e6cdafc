"""A gate in a pipeline: what it judges, where it stops, what stays; and the exit status of the command."""

import json
import logging
import sys
from pathlib import Path

import pytest
from support.commands import SMALL, clinlm
from support.pipelines import composed, finished

from clinlm import __main__
from clinlm.pipeline import execution
from clinlm.pipeline.gates import Gate
from clinlm.pipeline.results import GateFailed
from clinlm.report import gates

pytestmark = pytest.mark.usefixtures("quick")
OPEN = ("gate=low", "gate.metrics={macro_auroc: 1.0, micro_f1: 1.0}", "gate.agreement=0.0", "gate.judge=point")
"""A gate that is passed by whatever is defined."""
SHUT = ("gate=low", "gate.agreement=1.0", "+gate.resamples=20")
"""A gate that a dozen documents cannot pass: the low end of the interval of agreement is below 1."""
C = ["teacher", "prune_teacher", "recover_teacher", "student", "prune_student", "recover_student"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gated") / "store"


def test_a_pipeline_that_passes_runs_to_its_end(notes_csv: Path, root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        done = finished(composed(notes_csv, root, "pipeline=c", "epochs=1", *OPEN))
    assert [one.name for one in done] == C
    judged = [one.name for one in done if one.verdict is not None]
    assert judged == ["recover_teacher", "student", "recover_student"]
    assert all(one.verdict is None or one.verdict.passed for one in done)
    assert caplog.text.count("gate low, ") == 3 and done[-1].techniques == ("pruning", "distillation")


def test_a_pipeline_that_fails_stops_there_and_keeps_what_it_built(notes_csv: Path, root: Path) -> None:
    """Stages that were in the store already are judged as well."""
    with pytest.raises(
        GateFailed, match="'recover_teacher' fails gate low by interval on validation.*agreement"
    ) as failed:
        finished(composed(notes_csv, root, "pipeline=c", "epochs=1", *SHUT))
    assert [one.name for one in failed.value.done] == C[:3] and all(one.cached for one in failed.value.done)
    (verdict,) = failed.value.verdicts
    assert verdict.subject == "recover_teacher" and not verdict.passed and verdict.findings[0].quantity == "agreement"
    assert "too little; " in str(failed.value) and "quantize=int4 (int4)" in str(failed.value)
    assert failed.value.exit_status == 3


def test_a_gate_changes_no_key(notes_csv: Path, root: Path) -> None:
    assert all(one.cached for one in finished(composed(notes_csv, root, "pipeline=c", "epochs=1")))


def test_what_is_left_out_is_logged(notes_csv: Path, root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        done = finished(composed(notes_csv, root, "pipeline=quantization", "epochs=1", "quantize=none"))
    assert [one.name for one in done] == ["teacher"] and "stage quantize is left out: quantize=none" in caplog.text


def test_the_report_tells_every_gate_of_every_compressed_stage(notes_csv: Path, root: Path) -> None:
    config = composed(notes_csv, root, "pipeline=c", "epochs=1")
    done, (task, _) = finished(config), execution.open_task(config)
    known = gates.every_gate()
    assert [gate.name for gate in known] == ["critical", "high", "medium", "low"]
    found = gates.verdicts(task, gates.subjects(done), known)
    assert [*found] == C[1:] and all([one.gate for one in own] == [g.name for g in known] for own in found.values())
    assert all(own[0].refused for own in found.values()), "critical allows no pruning"
    assert len(gates.lines(found)) == 6 and "critical fails (pruning not allowed" in gates.lines(found)[0]
    assert gates.lines(found)[5].startswith("gates      fairness not measured: the corpus has no attributes"), "once"
    text = gates.markdown(found, known)
    assert text.startswith("| stage | critical | high | medium | low |")
    assert gates.numbers(found).count("- gate ") == 20
    assert gates.markdown({}, known) == ""


def test_the_chosen_gate_is_told_as_it_was_set(notes_csv: Path, root: Path) -> None:
    chosen = gates.open_gate(composed(notes_csv, root, *OPEN))
    assert chosen is not None and gates.every_gate(chosen)[-1] is chosen
    assert gates.open_gate(composed(notes_csv, root)) is None
    mine = Gate("mine", {"micro_f1": 0.1})
    assert [one.name for one in gates.every_gate(mine)] == ["critical", "high", "medium", "low", "mine"]


def test_a_gate_without_anything_to_judge_says_so(
    notes_csv: Path, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (done,) = finished(composed(notes_csv, root, "pipeline=baseline", "epochs=1", "gate=critical"))
    assert done.verdict is None and "gate critical judges nothing" in caplog.text


def test_devices_are_told_one_line_each(notes_csv: Path, root: Path) -> None:
    known = gates.devices(composed(notes_csv, root))
    told = gates.device_lines(known, 4_000_000, 12.5, "openvino")
    assert len(told) == len(known) == 6 and all(line.startswith("device     ") for line in told)
    (one,) = gates.devices(composed(notes_csv, root, "device=raspberry_pi_5"))
    line = gates.device_lines([one], 4_000_000, 12.5, "openvino")[0]
    assert "Raspberry Pi 5: fits: 4 of 50 MB on disk (46 to spare), 12.5 of 8,192 MiB" in line
    assert gates.device_markdown([one], 4_000_000, 12.5, "openvino").startswith("- Raspberry Pi 5: fits")


# The command itself.


def test_a_failed_gate_is_exit_status_3_also_where_tracebacks_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> None:
        raise GateFailed("the gate says no")

    monkeypatch.setattr(__main__, "launch", refused)
    monkeypatch.setattr(sys, "argv", ["clinlm"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(SystemExit) as stopped:
        __main__.main()
    assert stopped.value.code == 3


def test_a_failed_gate_is_exit_status_3(notes_csv: Path, tmp_path: Path) -> None:
    """In a sweep the other jobs go on, and it has its table; what was built stays where a pipeline stops."""
    ours = [*SMALL, f"task.root={notes_csv}", "logger=none"]
    jobs = clinlm(tmp_path, *ours, "-m", "pipeline=quantization,baseline", "gate=critical")
    assert jobs.returncode == 3 and "Traceback" not in jobs.stderr
    told = jobs.stderr.partition("clinlm: job 0: ")[2]
    assert "stage 'quantize' is post-training quantization; nothing was trained; allowed instead: " in told
    assert "instead: pipeline=quantization_qat (quantization-aware training)" in told
    (left,) = tmp_path.glob(f"outputs/sweeps/*/0/{gates.FAILED}")
    assert json.loads(left.read_text())["verdicts"][0]["stage"] == "quantize"
    assert list(tmp_path.glob("outputs/sweeps/*/1/run.json")) and list(tmp_path.glob("outputs/sweeps/*/table.md"))
    assert not list(tmp_path.glob("outputs/store/quantize-*"))
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "run.json").write_text("{}")
    lost = clinlm(tmp_path, *ours, "pipeline=quantization", *SHUT, "hydra.run.dir=again")
    assert lost.returncode == 3 and "Traceback" not in lost.stderr
    assert "stage 'quantize' fails gate low by interval" in lost.stderr.partition("clinlm: ")[2]
    assert (tmp_path / "again" / "gates.md").is_file()
    assert not (tmp_path / "again" / "run.json").exists(), "of an earlier run, which passed"
    assert list(tmp_path.glob("outputs/store/quantize-*/record.json"))
